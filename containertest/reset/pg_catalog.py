"""What a database consists of, as far as bringing it back has to know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOREIGN_KEYS = "SELECT DISTINCT conrelid::bigint, confrelid::bigint FROM pg_constraint WHERE contype = 'f'"

SEQUENCES = """
    SELECT c.oid::bigint, format('%I.%I', n.nspname, c.relname), s.seqcache > 1, c.relpersistence = 'u'
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
    WHERE c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'containertest')
        AND pg_has_role(c.relowner, 'USAGE')
    ORDER BY c.oid
"""


@dataclass
class Table:
    """A table; ``care`` and ``place`` are those of containertest.tracked in pg_install.sql."""

    oid: int
    name: str
    columns: list[str]
    members: list[int]
    care: int
    owned: bool
    place: int = 0


@dataclass(frozen=True)
class Sequence:
    """A sequence with the state it has in the baseline."""

    oid: int
    name: str
    caching: bool
    unlogged: bool
    last_value: int
    is_called: bool


def read_sql(name: str) -> str:
    """Return the text of a .sql file of this package."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Cut a list into pieces of at most ``size`` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def read_tables(cursor: Any) -> list[Table]:
    """Read all tables, in the order in which their rows can be deleted."""
    cursor.execute(read_sql("pg_tables.sql"))
    tables = [Table(*row) for row in cursor.fetchall()]
    cursor.execute(FOREIGN_KEYS)
    sort_for_deletion(tables, cursor.fetchall())
    return sorted(tables, key=lambda table: table.place)


def read_sequences(cursor: Any) -> list[Sequence]:
    """Read all sequences and their states."""
    cursor.execute(SEQUENCES)
    found: list[tuple[Any, ...]] = cursor.fetchall()
    states: dict[int, tuple[int, bool]] = {}
    for batch in batches(found, 100):
        cursor.execute(
            " UNION ALL ".join(f"SELECT {row[0]}::bigint, last_value, is_called FROM {row[1]}" for row in batch)
        )
        states.update({oid: (value, called) for oid, value, called in cursor.fetchall()})
    return [Sequence(*(row + states[row[0]])) for row in found]


def sort_for_deletion(tables: list[Table], references: Iterable[tuple[int, int]]) -> None:
    """Give each table its place: what references others first, trees of inheritance as one.

    Tables whose foreign keys form a circle get ``care`` 1: no order fits them.
    """
    tree = trees(tables)
    edges: dict[int, set[int]] = {root: set() for root in tree.values()}
    sizes: dict[int, int] = dict.fromkeys(edges, 0)
    for root in tree.values():
        sizes[root] += 1
    careful: set[int] = set()
    for child, parent in references:
        if child not in tree or parent not in tree:
            continue
        if tree[child] != tree[parent]:
            edges[tree[child]].add(tree[parent])
        elif sizes[tree[child]] > 1:
            careful.add(tree[child])
    order: dict[int, int] = {}
    for component in components(edges):
        if len(component) > 1:
            careful.update(component)
        for root in component:
            order[root] = len(order)
    # components() gives what is referenced first; the oid keeps the order within a tree the same every time.
    by_place = sorted(tables, key=lambda table: (-order[tree[table.oid]], table.oid))
    for place, table in enumerate(by_place, start=1):
        table.place = place
        if tree[table.oid] in careful:
            table.care = max(table.care, 1)


def trees(tables: list[Table]) -> dict[int, int]:
    """Map each table to a table that stands for all that are related to it by inheritance."""
    root = {table.oid: table.oid for table in tables}

    def find(oid: int) -> int:
        while root[oid] != oid:
            oid = root[oid]
        return oid

    for table in tables:
        for member in table.members:
            if member in root:
                root[find(member)] = find(table.oid)
    return {oid: find(oid) for oid in root}


def components(edges: dict[int, set[int]]) -> list[list[int]]:
    """Return the strongly connected components, each after those that it leads to (Tarjan, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    result: list[list[int]] = []

    def enter(node: int) -> tuple[int, Iterator[int]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        return node, iter(sorted(edges[node]))

    for start in sorted(edges):
        work = [] if start in index else [enter(start)]
        while work:
            node, following = work[-1]
            for target in following:
                if target not in index:
                    work.append(enter(target))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = stack.index(node)
                    result.append(stack[cut:])
                    on_stack.difference_update(stack[cut:])
                    del stack[cut:]
    return result
