"""Imports point one way: who may know whom, read from the sources."""

from __future__ import annotations

import ast
import functools
import itertools
import unittest
from collections.abc import Iterator
from pathlib import Path

import containertest

PACKAGE = Path(containertest.__file__).parent

DESIGN = PACKAGE.parent / "docs" / "design.rst"


def _layers() -> list[list[str]]:
    """The layers of the design document, from the top to the bottom: the indented lines after its comment "layers"."""
    _, _, rest = DESIGN.read_text(encoding="utf-8").partition("\n.. layers\n\n::\n\n")
    lines = itertools.takewhile(lambda line: line.startswith("    "), rest.splitlines())
    return [line.strip().split(", ") for line in lines]


#: A module may import those of lower layers and of its own, never of a higher one.
LAYERS = _layers()

#: Who may import a library, by how the module's name begins; every other module may not.
ALLOWED = {
    "docker": ("backends.docker",),
    "testcontainers": ("backends.docker",),
    "unittest": ("case", "queries"),
}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Name within the package -> syntax tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(name: str, tree: ast.Module) -> Iterator[str]:
    """The absolute names of all that a module imports, wherever in it, except for type checkers only."""
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["containertest", *name.split(".")]
                is_package = (PACKAGE / name.replace(".", "/") / "__init__.py").exists()
                base = ".".join([*here[: len(here) - node.level + is_package], *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield from _walk(child)


def ours(name: str, tree: ast.Module) -> set[str]:
    """The modules of the package that module ``name`` imports, by their names within it."""
    known = modules()
    prefix = "containertest."
    found = {item[len(prefix) :] for item in imports(name, tree) if item.startswith(prefix)}
    return {item for item in found if item in known and item}


def layer(name: str) -> int:
    """The number of a module's layer; 0 is the top."""
    for number, members in enumerate(LAYERS):
        if name in members or name.partition(".")[0] in members:
            return number
    raise AssertionError(f"{name} is in no layer: say in docs/design.rst where it belongs")


class ImportTests(unittest.TestCase):
    def setUp(self) -> None:
        everything = modules()
        self.modules = {name: tree for name, tree in everything.items() if name.partition(".")[0] != "sample" and name}
        self.sample = {name: tree for name, tree in everything.items() if name.partition(".")[0] == "sample"}

    def test_imports_point_one_way(self) -> None:
        for name, tree in self.modules.items():
            for imported in ours(name, tree):
                with self.subTest(name, imports=imported):
                    self.assertLessEqual(layer(name), layer(imported))

    def test_there_is_no_circle(self) -> None:
        graph = {name: ours(name, tree) - {name} for name, tree in self.modules.items()}
        while leaves := {name for name, known in graph.items() if not known & graph.keys()}:
            graph = {name: known for name, known in graph.items() if name not in leaves}
        self.assertEqual(graph, {}, "these modules import each other")

    def test_services_and_backends_never_import_each_other(self) -> None:
        for name, tree in self.modules.items():
            package, other = name.partition(".")[0], {"services": "backends", "backends": "services"}
            if package in other:
                found = {item.partition(".")[0] for item in ours(name, tree)}
                self.assertNotIn(other[package], found, name)

    def test_libraries_are_known_only_where_they_belong(self) -> None:
        for name, tree in self.modules.items():
            roots = {item.partition(".")[0] for item in imports(name, tree)}
            for library in ALLOWED.keys() & roots:
                with self.subTest(name):
                    self.assertTrue(name.startswith(ALLOWED[library]), f"{name} imports {library}")

    def test_sample_imports_nothing_of_the_library_except_its_main(self) -> None:
        for name, tree in self.sample.items():
            if name != "sample.__main__":
                others = {item for item in ours(name, tree) if item.partition(".")[0] != "sample"}
                public = {item for item in imports(name, tree) if item in ("containertest", "unittest")}
                with self.subTest(name):
                    self.assertEqual(others | public, set())

    def test_library_does_not_know_the_sample(self) -> None:
        for name, tree in self.modules.items():
            self.assertFalse({item for item in ours(name, tree) if item.startswith("sample")}, name)


class SourceTests(unittest.TestCase):
    def test_no_module_waits_by_a_clock_that_tests_may_have_stopped(self) -> None:
        for name, tree in modules().items():
            used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            if not name.startswith("sample"):
                with self.subTest(name):
                    self.assertTrue(used.isdisjoint({"monotonic", "perf_counter"}), "use containertest.wait.now()")

    def test_every_module_begins_with_a_docstring(self) -> None:
        for name, tree in modules().items():
            if tree.body:
                self.assertTrue(ast.get_docstring(tree), f"{name or '__init__'} has no docstring")

    def test_lists_of_public_names_are_sorted_and_true(self) -> None:
        for name, tree in modules().items():
            for node in tree.body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    names = ast.literal_eval(node.value)
                    with self.subTest(name):
                        self.assertEqual(names, sorted(names, key=lambda item: (not item.isupper(), item)))
                        self.assertLessEqual(set(names), set(_defined(tree)))


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield ast.unparse(target)


if __name__ == "__main__":
    unittest.main()
