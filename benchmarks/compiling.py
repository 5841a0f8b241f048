"""What compiling costs before LLVM: Python per node of the graph, and per new kernel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .fresh import TIMES, fresh_cache, medians
from .timing import OURS, Row

MEASURE = """
import json
from benchmarks import compiling
print(json.dumps(compiling.costs()))
"""


@dataclass(frozen=True)
class Cost:
    """A figure read from what ``explain`` says of the MLP step, compiled with a cold cache."""

    name: str
    promise: str
    key: str
    bar: float
    unit: str

    def row(self) -> Row:
        seen: dict[str, float] = {}
        trouble: tuple[str, ...] = ()
        scale = {"us": 1e6, "ms": 1e3}[self.unit]
        try:
            seen[OURS] = medians([fresh_cache(MEASURE) for _ in range(TIMES)])[self.key] * scale
        except RuntimeError as error:
            trouble = (f"{OURS}: {error}",)
        return Row(self.name, self.promise, self.unit, seen, self.bar * scale, trouble=trouble)


def costs() -> dict[str, float]:
    """Seconds per node from trace to plan, and per new kernel to schedule and write."""
    from . import peers, steps

    step: Callable[..., Any] = steps.training(
        peers.library("gristmill"), peers.jit_of("gristmill"), steps.mlp
    )
    gm = peers.library("gristmill")
    step(gm.tensor(peers.random(steps.BATCH, 784)), gm.tensor(steps.labels(steps.BATCH)))
    return dict(step.explain().costs)  # type: ignore[attr-defined]


def figures() -> list[Cost]:
    return [
        Cost("compile, per graph node", "<= 100 us trace to plan", "node", 100e-6, "us"),
        Cost("compile, per new kernel", "<= 3 ms schedule and write", "kernel", 3e-3, "ms"),
    ]
