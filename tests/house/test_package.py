"""The wheel: it holds the package alone, and every door of it opens."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

OPEN_ALL = """
import importlib, pathlib, sys
top = pathlib.Path(sys.argv[1])
for path in sorted(top.rglob("*.py")):
    parts = path.relative_to(top).with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert pathlib.Path(module.__file__) == path, module.__file__
"""


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_only_the_package(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gristmill"}
    assert "gristmill/py.typed" in names
    assert not [name for name in names if name.endswith((".pyc", ".so"))]


def test_the_wheel_holds_every_room_and_door(wheel: Path, root: Path, rooms, doors):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    sources = {f"gristmill/{source.path}" for source in rooms} | {str(s.path) for s in doors}
    assert names == sources


def test_every_module_opens_from_the_wheel(wheel: Path, tmp_path: Path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, sys.argv[1])\n{OPEN_ALL}",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
