"""Minimum cuts against networkx on random networks."""

import random

import networkx

from gristmill.passes.min_cut import minimum_cut


def test_random_networks():
    for seed in range(300):
        rng = random.Random(seed)
        count = rng.randint(2, 12)
        capacities: dict[int, dict[int, float]] = {}
        for u in range(count):
            for v in range(count):
                if u != v and rng.random() < 0.35:
                    capacities.setdefault(u, {})[v] = rng.randint(0, 9)
        known = networkx.DiGraph()
        known.add_nodes_from(range(count))
        for u, edges in capacities.items():
            known.add_edges_from((u, v, {"capacity": c}) for v, c in edges.items())
        side = minimum_cut(capacities, 0, count - 1)
        cut = sum(c for u, edges in capacities.items() for v, c in edges.items() if u in side and v not in side)
        assert 0 in side and count - 1 not in side
        assert cut == networkx.minimum_cut_value(known, 0, count - 1)


def test_the_cut_nearest_to_the_source():
    assert minimum_cut({"s": {"a": 2}, "a": {"b": 2}, "b": {"t": 2}}, "s", "t") == {"s"}


def test_a_long_chain():
    chain = {n: {n + 1: 1.0} for n in range(20000)}
    assert minimum_cut(chain, 0, 20000) == {0}
