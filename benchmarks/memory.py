"""The planned peak of a compiled step against what torch's eager step allocates.

Both are memory beyond what is alive before a step begins: parameters and optimizer state are not
counted, gradients are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import peers, steps
from .fresh import answer
from .timing import OURS, Row

MEASURE = """
import json
from benchmarks import memory
print(json.dumps({{"bytes": memory.{0}({1!r})}}))
"""


def digits(th: Any) -> Any:
    """The net of ``examples/digits.py``: 8 by 8 pixels, ten classes."""
    nn = th.nn
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))


NETS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "MLP": (steps.mlp, (steps.BATCH, 784)),
    "digits": (digits, (64, 64)),
}


@dataclass(frozen=True)
class Peak:
    """A figure in megabytes."""

    net: str

    @property
    def name(self) -> str:
        return f"{self.net} step, peak memory"

    def row(self) -> Row:
        seen: dict[str, float] = {}
        trouble: list[str] = []
        for name, measure in {OURS: "planned", "torch": "allocated"}.items():
            try:
                seen[name] = answer(MEASURE.format(measure, self.net))["bytes"] / 1e6
            except RuntimeError as error:
                trouble.append(f"{name}: {error}")
        return Row(
            self.name,
            "not above torch eager's",
            "MB",
            seen,
            seen.get("torch"),
            trouble=tuple(trouble),
        )


def step_of(name: str, net: str) -> Callable[[], Any]:
    make, shape = NETS[net]
    th = peers.library(name)
    step = steps.training(th, peers.jit_of(name), make)
    x, y = th.tensor(peers.random(*shape)), th.tensor(steps.labels(shape[0]))
    return lambda: step(x, y)


def planned(net: str) -> int:
    """What our plan says."""
    make, shape = NETS[net]
    gm = peers.library("gristmill")
    step = steps.training(gm, gm.compile, make)
    step(gm.tensor(peers.random(*shape)), gm.tensor(steps.labels(shape[0])))
    return int(step.explain().peak_bytes)


def allocated(net: str) -> int:
    """The most that torch's allocator held at once in a step, its optimizer's state made before."""
    from torch.profiler import ProfilerActivity, profile

    step = step_of("torch", net)
    for _ in range(2):
        step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    found = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    return highest(event.nbytes() for event in sorted(found, key=lambda event: event.start_ns()))


def highest(changes: Iterable[int]) -> int:
    """The highest level on the way, over the lowest before it: what was freed first is not new."""
    level = lowest = most = 0
    for change in changes:
        level += change
        lowest = min(lowest, level)
        most = max(most, level - lowest)
    return most


def figures() -> list[Peak]:
    return [Peak(net) for net in NETS]
