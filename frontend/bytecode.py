"""Which chains of names, attributes and constant keys a function's bytecode reads, found once per code object."""

from __future__ import annotations

import dis
import gc
import re
import sys
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any

# ---- bytecode ----

Step = tuple[str, Any, int]
"""``attribute`` or ``item``, its name, and the instruction that reads it."""

Chain = tuple[str, str, list[Step]]
"""Where a chain begins (``global``, ``free``, ``argument``, ``import`` or ``super``), the name there, its steps."""

_chains: dict[types.CodeType, list[Chain]] = {}


def chains_of(code: types.CodeType) -> list[Chain]:
    """Chains that code reads from globals, free variables, imports and its own arguments, found once."""
    found = _chains.get(code)
    if found is None:
        found = _chains[code] = [c for c in _scan(code) if c[0] != "argument" or c[2]]
    return found


_LOADS_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"}
_LOADS_CELL = {"LOAD_DEREF", "LOAD_CLASSDEREF", "STORE_DEREF", "LOAD_FROM_DICT_OR_DEREF"}
_LOADS_LOCAL = {"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_SKIPPED = {"CACHE", "COPY", "PUSH_NULL", "PRECALL", "RESUME", "EXTENDED_ARG"}
_NOTHING: Any = object()


def _scan(code: types.CodeType) -> list[Chain]:
    """Every chain, in the order of the code; a local that only ever holds the end of a chain goes on with it."""
    chains: list[Chain] = []
    arguments = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    instructions = list(_single(code))
    aliases = _Aliases(instructions, arguments)
    now: Chain | None = None
    before: list[Any] = []
    for i in instructions:
        name, value = i.opname, i.argval
        if name in _ATTRIBUTES and now is not None:
            now[2].append(("attribute", value, i.offset))
        elif name == "LOAD_CONST" and now is not None:
            before.append(value)
            aliases.load(i)
            continue
        elif name == "BINARY_SUBSCR" and now is not None and len(before) == 1:
            now[2].append(("item", before[0], i.offset))
        elif name == "STORE_FAST" and now is not None and not before:
            aliases.store(value, now)
            now = None
        elif name == "CALL" and now is not None and now[:2] == ("global", "super") and not value:
            now = ("super", "", [])
            chains.append(now)
        else:
            now = aliases.load(i) or _root(name, value, i.offset, code, arguments)
            if now is not None:
                chains.append(now)
        before = []
    return [c for c in chains if c[0] not in ("import", "super") or c[2]]


def _single(code: types.CodeType) -> Iterator[Any]:
    """The instructions that count; those that load or store two locals (from Python 3.13 on) as two."""
    for i in dis.get_instructions(code):
        if isinstance(i.argval, tuple) and "_FAST" in i.opname:
            for name, value in zip(_FAST.findall(i.opname), i.argval, strict=True):
                yield i._replace(opname=name, argval=value)
        elif i.opname not in _SKIPPED:
            yield i


_FAST = re.compile("(?:LOAD|STORE)_FAST(?:_BORROW)?")


def _root(
    name: str, value: Any, offset: int, code: types.CodeType, arguments: set[str]
) -> Chain | None:
    if name in _LOADS_GLOBAL:
        return ("global", value, [])
    if name in _LOADS_CELL and value in code.co_freevars:
        return ("free", value, [])
    if (name in _LOADS_LOCAL or name in _LOADS_CELL) and value in arguments:
        return ("argument", value, [])
    if name == "LOAD_SUPER_ATTR":
        return ("super", "", [("attribute", value, offset)])
    return None


class _Aliases:
    """Locals that hold the end of a chain: ``c = box`` and then ``c.k``; ``import cfg`` and then ``cfg.k``."""

    def __init__(self, instructions: list[Any], arguments: set[str]) -> None:
        stores: Counter[str] = Counter(arguments)
        for i in instructions:
            if i.opname in ("STORE_FAST", "DELETE_FAST"):
                stores[i.argval] += 1
        self.once = {name for name, count in stores.items() if count == 1} - arguments
        self.known: dict[str, Chain] = {}
        self.module = ""
        self.constants: list[Any] = []

    def store(self, name: str, chain: Chain) -> None:
        """A chain's end is stored in a local."""
        if name in self.once:
            self.known[name] = chain[0], chain[1], list(chain[2])

    def load(self, i: Any) -> Chain | None:
        """The chain that an instruction begins: a local that is known, or an import."""
        if i.opname == "LOAD_CONST":
            self.constants.append(i.argval)
        elif i.opname == "IMPORT_NAME" and len(self.constants) >= 2:
            level, names = self.constants[-2:]
            self.module = "." * level + (i.argval if names or level else i.argval.split(".")[0])
            return ("import", self.module, [])
        elif i.opname == "IMPORT_FROM":
            return ("import", self.module, [("attribute", i.argval, i.offset)])
        elif i.opname in _LOADS_LOCAL and i.argval in self.known:
            kind, root, steps = self.known[i.argval]
            return kind, root, list(steps)
        return None


# ---- frames ----


def closure_of(code: types.CodeType, frame: Any) -> dict[str, Any]:
    """The cells of the function that a frame runs (a frame does not tell; the collector does, by what they hold)."""
    inside = frame.f_locals
    closures = [
        dict(zip(code.co_freevars, f.__closure__, strict=True))
        for f in gc.get_referrers(code)
        if isinstance(f, types.FunctionType) and f.__code__ is code and f.__closure__
    ]
    for cells in closures:
        if all(_held(cell) is inside.get(name, _NOTHING) for name, cell in cells.items()):
            return cells
    return closures[0] if closures else {}


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _NOTHING


def frame_of(code: types.CodeType, outermost: types.CodeType | None) -> Any:
    """The innermost frame that runs ``code``; None where it lies outside of ``outermost``."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = None if frame.f_code is outermost else frame.f_back
    return frame
