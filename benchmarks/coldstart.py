"""Starting up, in fresh processes: the import, and the first call with cold and warm caches."""

from collections.abc import Callable
from dataclasses import dataclass

from .fresh import TIMES, answer, fresh_cache, medians
from .timing import OURS, Row

BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}  # as installed packages are: compiled once, then read
IMPORT = """
import json, time
import numpy
start = time.perf_counter()
import {0}
print(json.dumps({{"import": time.perf_counter() - start}}))
"""

FIRST_STEP = """
import json, time
from benchmarks import peers, steps
step = steps.mlp_step(steps.BATCH)(peers.library({0!r}), peers.jit_of({0!r}))
start = time.perf_counter()
step()
print(json.dumps({{"first": time.perf_counter() - start}}))
"""


@dataclass(frozen=True)
class Fresh:
    """A figure in seconds, the median of a few new processes."""

    name: str
    promise: str
    bar: float
    ours: Callable[[], float]
    peers: dict[str, Callable[[], float]]
    unit: str = "ms"

    def row(self) -> Row:
        seen: dict[str, float] = {}
        trouble: list[str] = []
        scale = {"ms": 1e3, "s": 1.0}[self.unit]
        for name, measure in {OURS: self.ours, **self.peers}.items():
            try:
                seen[name] = measure() * scale
            except (RuntimeError, OSError) as error:
                trouble.append(f"{name}: {error}")
        return Row(
            self.name, self.promise, self.unit, seen, self.bar * scale, trouble=tuple(trouble)
        )


def importing(module: str) -> Callable[[], float]:
    """Seconds to import a module where NumPy is already loaded; the first run compiles and reads it."""

    def measure() -> float:
        program = IMPORT.format(module)
        answer(program, **BYTECODE)
        return medians([answer(program, **BYTECODE) for _ in range(TIMES)])["import"]

    return measure


def first_step(module: str, warm: bool) -> Callable[[], float]:
    """Seconds of the first training step of a process, kernels on disk or not."""
    program = FIRST_STEP.format(module)
    return lambda: medians([fresh_cache(program, warm) for _ in range(TIMES)])["first"]


def figures() -> list[Fresh]:
    torch = {"torch": first_step("torch", warm=False)}
    cold, warm = first_step("gristmill", warm=False), first_step("gristmill", warm=True)
    return [
        Fresh(
            "import gristmill",
            "<= 150 ms beyond NumPy's",
            0.150,
            importing("gristmill"),
            {"torch": importing("torch")},
        ),
        Fresh("MLP step, first call, cold", "< 2 s", 2.0, cold, torch, unit="s"),
        Fresh("MLP step, first call, warm disk", "< 0.4 s", 0.4, warm, torch, unit="s"),
    ]
