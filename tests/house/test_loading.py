"""What loading the package does: each file under one name, nothing slow on the way."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

WALK = """
import importlib, os, pkgutil, sys
import gristmill
for module in pkgutil.walk_packages(gristmill.__path__, "gristmill."):
    importlib.import_module(module.name)
"""
NAMES = """
import collections
files = collections.Counter(
    os.path.realpath(module.__file__)
    for module in list(sys.modules.values())
    if getattr(module, "__file__", None)
)
print([path for path, count in files.items() if count > 1 and path.startswith(TOP)])
"""


def fresh(program: str, root: Path) -> str:
    """What a new interpreter, started at the top of the clone, prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_file_is_loaded_under_two_names(root):
    """Nor by loading every module there is."""
    assert fresh(WALK + f"TOP = {str(root)!r}\n" + NAMES, root) == "[]"


def test_these_tests_have_loaded_no_file_under_two_names(root):
    rooms = [
        str(root / room) for room in ("ir", "passes", "codegen", "frontend", "runtime", "gristmill")
    ]
    files = Counter(
        str(Path(module.__file__).resolve())
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None)
    )
    assert [
        path for path, count in files.items() if count > 1 and path.startswith(tuple(rooms))
    ] == []


@pytest.mark.parametrize("what", ["import gristmill, sys", WALK])
def test_slow_packages_wait_until_they_are_needed(root, what):
    slow = {"llvmlite", "networkx", "rich", "pycuda", "onnx", "torch", "scipy"}
    assert fresh(f"{what}\nprint(sorted({slow} & set(sys.modules)))", root) == "[]"
