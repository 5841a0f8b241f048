"""Contenders timed in turns: every sample warmed, every pool put to sleep, medians kept."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Call = Callable[[], Any]
Builder = Callable[[], Call]
Bar = Callable[[Mapping[str, float]], float]
"""Seconds, from the seconds that the contenders took in the same turns."""

SAMPLE_S = 0.025
WARM_S = 0.015  # untimed calls before a sample: refill the caches that the others emptied
REST_S = 0.01  # and again, until nothing of this process runs: NumPy's workers spin for 0.1 s
ROUNDS = range(5, 40)  # at least, and at most

OURS = "gristmill"

settle: Callable[[Sequence[float]], float] = statistics.median
"""How samples become one figure; ``--least`` takes the minimum, for a machine with neighbours."""


class Row(NamedTuple):
    """One line of the table: what each contender took, in ``unit``, and the most that ours may."""

    figure: str
    promise: str
    unit: str
    seen: Mapping[str, float]
    bar: float | None = None
    limit: float | None = None
    trouble: tuple[str, ...] = ()


def rest() -> None:
    """Wait until the workers of the last contender's pool sleep, half a second at most."""
    for _ in range(50):
        before = time.process_time()
        time.sleep(REST_S)
        if time.process_time() - before < 0.1 * REST_S:
            return


def sample(call: Call, repeats: int) -> float:
    """Seconds per call; a call that repeats its work inside says so in ``times``."""
    warm = time.perf_counter() + WARM_S
    call()
    while time.perf_counter() < warm:
        call()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats / getattr(call, "times", 1)


def repeats_of(call: Call) -> int:
    rest()
    least = min(sample(call, 1), sample(call, 3)) * getattr(call, "times", 1)
    return max(1, round(SAMPLE_S / max(least, 1e-7)))


def interleave(calls: Mapping[str, Call], budget_s: float) -> dict[str, float]:
    """Seconds per call of each (``settle`` says which); rounds begin with another contender."""
    names = list(calls)
    repeats = {name: repeats_of(calls[name]) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + budget_s
    for round_ in range(ROUNDS.stop):
        shift = round_ % len(names)
        for name in names[shift:] + names[:shift]:
            rest()
            times[name].append(sample(calls[name], repeats[name]))
        if round_ + 1 >= ROUNDS.start and time.perf_counter() > end:
            break
    return {name: settle(taken) for name, taken in times.items()}


@dataclass(frozen=True)
class Timed:
    """A figure in seconds per call: contenders, the most that ours may take, the least it can.

    ``bar`` and ``limit`` are functions of the others' medians, measured in the same turns.
    """

    name: str
    promise: str
    contenders: Mapping[str, Builder]
    bar: Bar
    limit: Bar | None = None
    same_results: bool = True
    unit: str = "ms"
    budget_s: float = field(default=4.0)

    def row(self) -> Row:
        """Build all contenders, compare what they compute, time them in turns."""
        calls, first, trouble = built(self.contenders)
        if self.same_results:
            trouble += differing(first)
        seconds = interleave(calls, self.budget_s) if calls else {}
        scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[self.unit]
        return Row(
            self.name,
            self.promise,
            self.unit,
            {name: taken * scale for name, taken in seconds.items()},
            scaled(self.bar, seconds, scale),
            scaled(self.limit, seconds, scale) if self.limit else None,
            tuple(trouble),
        )


def scaled(f: Bar, seconds: Mapping[str, float], scale: float) -> float | None:
    """What ``f`` makes of the medians; nothing where a contender that it needs is missing."""
    try:
        return f(seconds) * scale
    except (KeyError, ValueError):
        return None


def built(
    contenders: Mapping[str, Builder],
) -> tuple[dict[str, Call], dict[str, Any], list[str]]:
    """The contenders that can be built and called, their first results, and why others cannot."""
    calls: dict[str, Call] = {}
    first: dict[str, Any] = {}
    trouble: list[str] = []
    for name, build in contenders.items():
        try:
            call = build()
            first[name] = call()
            calls[name] = call
        except Exception as error:  # a contender that cannot run is reported in the table
            trouble.append(f"{name}: {type(error).__name__}: {first_line(error)}")
    return calls, first, trouble


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def array_of(result: Any) -> np.ndarray | None:
    while isinstance(result, tuple | list) and result:
        result = result[0]
    if isinstance(result, np.ndarray):
        return result
    return result.detach().numpy() if hasattr(result, "detach") else None


def differing(first: Mapping[str, Any]) -> list[str]:
    """Contenders whose result is not the first one's, up to rounding."""
    arrays = {name: a for name, result in first.items() if (a := array_of(result)) is not None}
    if not arrays:
        return []
    (_, want), *others = arrays.items()
    scale = float(np.abs(want).max()) or 1.0
    return [f"{name}: its result differs" for name, a in others if not close(a, want, 1e-4 * scale)]


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return a.shape == b.shape and float(np.abs(a - b).max(initial=0.0)) <= tolerance


def fastest(names: Iterable[str]) -> Bar:
    """The bar 'not slower than any of these'."""
    kept = tuple(names)
    return lambda seconds: min(seconds[name] for name in kept if name in seconds)
