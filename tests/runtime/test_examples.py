"""The examples run in a process of their own, as a reader runs them, and say what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, folder: Path, *args: str) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GRISTMILL_CACHE_DIR": str(folder / "cache"),
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *args],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_tour(tmp_path: Path) -> None:
    out = run("tour.py", tmp_path)
    assert "inside gm.eager(): tensor(9.)" in out and "inner sizes differ" in out
    assert "variants compiled: 1" in out


@pytest.mark.full
def test_simple_net(tmp_path: Path) -> None:
    out = run("simple_net.py", tmp_path)
    assert "saved, loaded into a new model: the same predictions" in out
    eager, compiled = out.split("compiled\n")
    losses = [
        [float(x) for x in re.findall(r"Loss: ([0-9.]+)", half)] for half in (eager, compiled)
    ]
    assert len(losses[0]) == 5 and losses[1] == pytest.approx(losses[0], rel=0.02, abs=2e-4)
    assert losses[0][-1] < 0.1


@pytest.mark.full
def test_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    out = run("digits.py", tmp_path, "--out", "run")
    found = [float(x) for x in re.findall(r"accuracy, seed \d.*?([0-9.]+)%", out)]
    assert len(found) == 3 and min(found) >= 96, out
    assert re.search(r"compiled variants\s*\S*\s*2\b", out), out
    written = {p.name for p in (tmp_path / "run").iterdir()}
    assert {
        "digits.pth",
        "explain.txt",
        "step.graph.txt",
        "step.llvm.txt",
        "step.asm.txt",
    } <= written
