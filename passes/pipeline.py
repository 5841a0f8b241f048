"""The passes from a traced graph to one that is fused, in the order in which they run."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..ir.graph import Graph
from ..ir.verify import verify
from .inline_calls import inline_calls
from .rematerialize import rematerialize
from .simplify import simplify

Pass = Callable[[Graph], Graph]

PASSES: tuple[tuple[str, Pass], ...] = (
    ("inline_calls", inline_calls),
    ("simplify", simplify),
    ("rematerialize", rematerialize),
)


def run_passes(
    graph: Graph,
    times: dict[str, int] | None = None,
    seen: dict[str, Graph] | None = None,
    check: bool = False,
) -> Graph:
    """The graph after all passes; ``times`` gets nanoseconds by pass, ``seen`` the graph after each."""
    for name, step in PASSES:
        begin = time.perf_counter_ns()
        graph = step(graph)
        if times is not None:
            times[name] = times.get(name, 0) + time.perf_counter_ns() - begin
        if seen is not None:
            seen[name] = graph
        if check:
            verify(graph)
    return graph
