"""The how-to pages run: each is a doctest, in a process of its own because it may define ops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_the_page_runs(page: Path) -> None:
    code = f"import doctest, sys; sys.exit(doctest.testfile({str(page)!r}, module_relative=False).failed)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
