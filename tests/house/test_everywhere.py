"""The whole suite once more: with the portable ways, with the references alone, and on other Pythons."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pythons import find_python


def run_suite(root: Path, python: str, **switches: str) -> None:
    """Run the tests that are not ``full`` in a process without this one's pytest variables."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    command = [python, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=root, env={**inherited, **switches}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


# (Eager execution runs the references alone as it is, so the second switch must change nothing.)
@pytest.mark.full
@pytest.mark.parametrize("switch", ["GRISTMILL_PORTABLE=1", "GRISTMILL_EAGER=reference"])
def test_with_a_switch(switch: str, root: Path) -> None:
    name, _, value = switch.partition("=")
    run_suite(root, sys.executable, **{name: value})


@pytest.mark.full
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_on_another_python(version: str, root: Path, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    own = str(tmp_path / "venv" / "bin" / "python")
    install = [own, "-m", "pip", "install", "--quiet", "--editable", ".[test]"]
    done = subprocess.run(install, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run_suite(root, own)
