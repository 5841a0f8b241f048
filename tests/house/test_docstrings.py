"""The examples in the docstrings, run under the names that users import.

(``pytest --doctest-modules`` would load each room a second time, as part of the clone's folder.)
"""

import doctest
import importlib
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for room in ("ir", "passes", "codegen", "frontend", "runtime")
    for path in (TOP / room).rglob("*.py")
)
SHOWN = [path.relative_to(TOP) for path in FILES if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", SHOWN, ids=str)
def test_examples(path: Path):
    parts = path.with_suffix("").parts
    name = ".".join(("gristmill", *(parts[:-1] if parts[-1] == "__init__" else parts)))
    assert doctest.testmod(importlib.import_module(name)).failed == 0
