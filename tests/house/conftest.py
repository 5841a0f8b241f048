"""The clone's Python files, parsed once for all tests of the house's order."""

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDERS = ("ir", "passes", "codegen", "frontend", "runtime")
BESIDE = ("tests", "examples", "benchmarks")


class Source(NamedTuple):
    """One file: its path from the top, its text, its syntax tree."""

    path: Path
    text: str
    tree: ast.Module

    @classmethod
    def read(cls, root: Path, path: Path) -> "Source":
        text = path.read_text(encoding="utf-8")
        return cls(path.relative_to(root), text, ast.parse(text, str(path)))


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def rooms(root: Path) -> list[Source]:
    """Every file of the five rooms."""
    return [
        Source.read(root, path) for room in FOLDERS for path in sorted((root / room).rglob("*.py"))
    ]


@pytest.fixture(scope="session")
def doors(root: Path) -> list[Source]:
    """Every file of ``gristmill/`` itself; the rooms behind its links are left out."""
    found: list[Path] = sorted((root / "gristmill").glob("*.py"))
    for folder in sorted((root / "gristmill").iterdir()):
        if folder.is_dir() and not folder.is_symlink():
            found += sorted(folder.rglob("*.py"))
    return [Source.read(root, path) for path in found]


@pytest.fixture(scope="session")
def everything(root: Path, rooms: list[Source], doors: list[Source]) -> list[Source]:
    beside = [path for folder in BESIDE for path in sorted((root / folder).rglob("*.py"))]
    return rooms + doors + [Source.read(root, path) for path in beside]
