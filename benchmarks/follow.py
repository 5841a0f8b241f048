"""``python -m benchmarks.follow``: what the calls of a new function enter, from call to kernel.

Python calls, own files and own folders, counted in a process that has compiled another function before. The first call
compiles, the second writes the function that checks the guards, the third makes the slots of the program.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def follow(run: Callable[[], object]) -> tuple[int, list[Path]]:
    """The number of Python calls that ``run`` makes, and the files of ours that they enter."""
    calls, entered = 0, set()

    def seen(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        if event == "call":
            calls += 1
            entered.add(frame.f_code.co_filename)

    sys.setprofile(seen)
    try:
        run()
    finally:
        sys.setprofile(None)
    places = [Path(os.path.realpath(name)) for name in entered if os.path.isfile(name)]
    ours = [p.relative_to(ROOT) for p in places if p.is_relative_to(ROOT)]
    return calls - 1, sorted(p for p in ours if p.parts[0] != "benchmarks")


def main() -> None:
    import gristmill as gm

    x = gm.ones(64, 64)
    gm.compile(lambda x: (x * 3).exp().mean())(x)
    f = gm.compile(lambda x: ((2 * x).tanh() + 1).sum())
    print("sum(tanh(2x) + 1) on 64x64, in a process that has compiled another function")
    for name in ("first call", "second call", "third call", "later call"):
        calls, files = follow(lambda: f(x))
        folders = sorted({str(p.parent) for p in files})
        print(f"{name}: {calls} Python calls in {len(files)} files of {len(folders)} folders")
        for folder in folders:
            print(f"    {folder}: {' '.join(p.stem for p in files if str(p.parent) == folder)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GRISTMILL_CACHE_DIR"] = cache
        main()
