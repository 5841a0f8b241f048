"""Work in new interpreters: what only the first call of a process can show."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

TOP = Path(__file__).parent.parent
TIMES = 3


def answer(program: str, **environment: str) -> dict[str, float]:
    """What a new interpreter prints last, as JSON. Raises ``RuntimeError`` with its complaint."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=TOP,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def medians(answers: list[Mapping[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in answers) for key in answers[0]}


def fresh_cache(program: str, warm: bool = False) -> dict[str, float]:
    """``answer`` with an empty kernel cache, or with what one earlier run left in it."""
    with tempfile.TemporaryDirectory() as folder:
        first = answer(program, GRISTMILL_CACHE_DIR=folder)
        return answer(program, GRISTMILL_CACHE_DIR=folder) if warm else first
