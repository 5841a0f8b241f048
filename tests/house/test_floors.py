"""The floors: files import from their own floor or from one below, and never in a circle."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import networkx
import pytest

FLOORS = ("ir", "passes", "codegen", "frontend", "runtime")
Module = tuple[str, ...]


class Arrow(NamedTuple):
    """One import of our own, with the line it stands on."""

    source: Module
    target: Module
    line: int

    def __str__(self) -> str:
        return f"{'.'.join(self.source)}:{self.line} -> {'.'.join(self.target)}"


def module_of(path: Path) -> Module:
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(node: ast.AST, folder: Module) -> Iterator[Module]:
    """The full names, from the top, that an import of our own brings in."""
    if isinstance(node, ast.Import):
        names = [tuple(alias.name.split(".")) for alias in node.names]
        yield from (name[1:] for name in names if name[0] == "gristmill")
    elif isinstance(node, ast.ImportFrom):
        inner = tuple(node.module.split(".")) if node.module else ()
        if node.level:
            inner = folder[: len(folder) - node.level + 1] + inner
        elif inner[0] == "gristmill":
            inner = inner[1:]
        else:
            return
        yield from ((*inner, alias.name) for alias in node.names)


def typing_only(tree: ast.Module) -> set[int]:
    tests = [
        n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)
    ]
    return {id(inner) for test in tests for part in test.body for inner in ast.walk(part)}


def arrows(files: Iterable[tuple[Path, ast.Module]]) -> list[Arrow]:
    """Every import of ours, those inside functions too; ``__version__`` and its like are free."""
    files = list(files)
    known = {module_of(path) for path, _ in files}
    found = []
    for path, tree in files:
        source, skipped = module_of(path), typing_only(tree)
        for node in ast.walk(tree):
            for name in imported(node, path.parent.parts) if id(node) not in skipped else ():
                target = name if name in known else name[:-1]
                if target != source and not name[-1].startswith("__"):
                    found.append(Arrow(source, target, getattr(node, "lineno", 0)))
    return found


def upward(found: Iterable[Arrow]) -> list[str]:
    """Arrows from a room to a higher one, or to a door (which is above them all)."""

    def floor(module: Module) -> int:
        return FLOORS.index(module[0]) if module and module[0] in FLOORS else len(FLOORS)

    return [str(arrow) for arrow in found if floor(arrow.target) > floor(arrow.source)]


def circles(found: Iterable[Arrow]) -> list[list[str]]:
    graph = networkx.DiGraph([(arrow.source, arrow.target) for arrow in found])
    groups = networkx.strongly_connected_components(graph)
    return sorted(
        sorted(".".join(module) for module in group) for group in groups if len(group) > 1
    )


@pytest.fixture(scope="module")
def found(rooms) -> list[Arrow]:
    return arrows((source.path, source.tree) for source in rooms)


def test_no_arrow_runs_up_the_floors(found):
    assert upward(found) == []


def test_nothing_imports_in_a_circle(found):
    assert circles(found) == []


def test_rooms_import_each_other_relatively(rooms):
    absolute = [
        f"{source.path}:{node.lineno}"
        for source in rooms
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not getattr(node, "level", 0)
        and any(True for _ in imported(node, source.path.parent.parts))
    ]
    assert absolute == []


def house(**files: str) -> list[Arrow]:
    """The arrows of a small made-up house; ``__`` in a name stands for a slash."""
    paths = {Path(name.replace("__", "/") + ".py"): dedent(text) for name, text in files.items()}
    return arrows((path, ast.parse(text)) for path, text in paths.items())


def test_the_check_sees_an_arrow_up_inside_a_function():
    found = house(ir__graph="def f():\n    from ..passes.fuse import fuse\n", passes__fuse="")
    assert upward(found) == ["ir.graph:2 -> passes.fuse"]


def test_the_check_sees_an_arrow_to_a_door():
    assert upward(house(runtime__data="from .. import nn\nfrom .. import __version__\n")) == [
        "runtime.data:1 -> "
    ]


def test_the_check_sees_a_circle_through_a_package():
    found = house(
        ir__a="from . import b",
        ir__b="from .c import thing",
        ir__c="import gristmill.ir.a",
        ir__d="from . import a",
    )
    assert circles(found) == [["ir.a", "ir.b", "ir.c"]]


def test_the_check_leaves_out_what_only_types_need():
    text = """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from ..passes.fuse import fuse
    """
    assert house(ir__graph=text, passes__fuse="") == []
