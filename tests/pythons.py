"""Other versions of Python on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def find_python(version: str) -> str | None:
    """The interpreter of a version such as ``3.12``, on the path or where pyenv keeps them."""
    if sys.version.startswith(version):
        return sys.executable
    found = [shutil.which(f"python{version}")]
    found += [str(p) for p in Path.home().glob(f".pyenv/versions/{version}*/bin/python")]
    return next((python for python in found if python and runs(python)), None)


def runs(python: str) -> bool:
    """Whether it is more than a name: a version manager's shim may answer that there is none."""
    return subprocess.run([python, "--version"], capture_output=True).returncode == 0
