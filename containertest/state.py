"""What a run notes of itself in ``state.json``, and what can be made of such a file that is damaged.

A machine that lost its power, a full disk or another version of this library may have left any of them. Whoever reads
a state gets one of the right form: what does not fit is left out, and the state is marked ``damaged``. Then what the
run has made is looked for by its name.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from containertest.files import working_folders
from containertest.processes import Process

__all__ = ["State", "empty_state", "read_state", "working_folder", "write_private"]

#: The content of ``state.json``; `empty_state` has its keys.
State = dict[str, Any]


def empty_state(root: Process) -> State:
    """The state of a run that has nothing yet. ``root`` is its first process."""
    return {
        "root": root,
        "where": working_folder(),
        "keep_alive": 0.0,
        "idle": False,
        "kept": [],
        "servers": {},
        "handles": {},
        "chosen": {},
        "announced": [],
    }


#: What is added to a state later.
_ADDED = {"prune": False, "failed": 0.0}
#: What an entry of ``servers`` has, by its kinds; see `containertest.servers.leases`.
_SERVER = {"backend": "", "handle": "", "endpoint": {}, "users": [], "templates": {}, "databases": {}}


def working_folder() -> str:
    """The working folder; "" when it has been removed."""
    return str(next(iter(working_folders()), ""))


def read_state(folder: Path) -> State:
    """The state of the run in ``folder``; empty when it has none.

    :raises OSError: if it can't be read now, as where too many files are open.
    """
    try:
        # A pipe would have nobody who writes to it.
        with open(os.open(folder / "state.json", os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except (IsADirectoryError, PermissionError, ValueError, RecursionError):
        found = None
    return _sound(found)


def _sound(found: Any) -> State:
    state = empty_state([])
    if isinstance(found, dict):
        examples = {**state, **_ADDED}
        state |= {key: value for key, value in found.items() if _is_like(value, examples.get(key, value))}
    state["root"] = state["root"] if _is_process(state["root"]) else []
    state["servers"] = {key: entry for key, entry in state["servers"].items() if _is_server(entry)}
    state["handles"] = {key: handle for key, handle in state["handles"].items() if _is_handle(handle)}
    return state if state == found else {**state, "damaged": True}


def _is_like(value: Any, example: Any) -> bool:
    return type(value) is type(example) or (type(example) is float and type(value) is int)


def _is_process(root: list[Any]) -> bool:
    return root == [] or (len(root) > 1 and all(isinstance(part, str) for part in root) and root[0].isdecimal())


def _is_server(entry: Any) -> bool:
    return _has(entry, _SERVER)


def _is_handle(handle: Any) -> bool:
    return _has(handle, {"id": "", "backend": ""}) and "id" in handle


def _has(value: Any, examples: dict[str, Any]) -> bool:
    """Whether what ``value`` has of these keys is of the kind of the examples."""
    return isinstance(value, dict) and all(
        _is_like(value.get(key, example), example) for key, example in examples.items()
    )


def write_private(path: Path, text: str) -> None:
    """Write a file (mode 0600) that appears whole or not at all."""
    temporary = path.with_suffix(".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
