"""Recompute or keep: what is kept on small graphs, and that the meaning stays."""

import pytest
from random_graphs import differences, random_arrays, random_graph, random_sizes

from gristmill.ir import ops
from gristmill.ir.graph import Builder, building
from gristmill.ir.interpret import interpret
from gristmill.ir.source import Site
from gristmill.ir.verify import verify
from gristmill.passes.differentiate import differentiate
from gristmill.passes.rematerialize import choose_kept, forward_nodes, is_cheap, rematerialize
from gristmill.passes.simplify import simplify


def joint(forward, *shapes):
    """The graph of a loss (the sum of ``forward``) with its derivatives, the backward's nodes marked."""
    b = Builder("joint")
    with building(b):
        xs = [b.input(f"x{i}", "f32", shape, "state") for i, shape in enumerate(shapes)]
        y = forward(*xs)
        loss = ops.sum_(y, axes=tuple(range(len(y.shape))))
        b.site = Site(origin="backward")
        found = differentiate({loss: loss.full(1.0)}, xs)
        return simplify(verify(b.graph([loss, *(found[x] for x in xs if x in found)])))


def kept(graph) -> list[str]:
    return sorted(f"{v.node.op.name} {v.type}" for v in choose_kept(graph, forward_nodes(graph)))


def check(graph):
    again = verify(rematerialize(graph))
    arrays = random_arrays(graph, 3, {"n": 4})
    for a, b in zip(interpret(graph, arrays)[0], interpret(again, arrays)[0], strict=True):
        assert not differences(a, b)
    return again


def test_a_cheap_chain_is_redone_from_its_input():
    graph = joint(lambda x: ops.relu(x * 3.0) * ops.relu(x + 1.0), (64,))
    assert kept(graph) == []
    assert len(check(graph)) > len(graph)


def test_dear_values_are_kept():
    """The derivative of tanh(x) * 2 * x reads tanh's result: it is kept, what follows is not."""
    graph = joint(lambda x: ops.relu(ops.tanh(x) * 2.0 + x), (64,))
    assert kept(graph) == ["tanh f32[64]"]
    again = check(graph)
    assert sum(n.op.name == "tanh" for n in again.nodes) == 1
    assert [n.op.name for n in again.nodes if n.site.origin == "backward"][:3] != []


def test_the_narrow_side_of_a_broadcast_is_kept():
    def scaled(x, w):
        s = ops.exp(w)
        wide = ops.broadcast(s, shape=x.shape)
        return ops.relu(x * wide) * wide

    graph = joint(scaled, ("n", 32), (32,))
    assert kept(graph) == ["exp f32[32]"]
    check(graph)


def test_a_mask_is_kept_where_its_source_may_not_be_redone():
    """A bool mask is a quarter of the product that it was made from."""

    def masked(x, w):
        y = ops.contract(x, w, spec="bi,io->bo")
        mask = ops.gt(y, y.full(0.0))
        return ops.select(mask, x, x * 2.0)

    graph = joint(masked, (8, 8), (8, 8))
    assert kept(graph) == ["gt bool[8, 8]"]
    check(graph)


def test_what_a_product_reads_is_kept():
    """Made again it would be written again, so the masks are kept beside it, not what it was made from."""

    def dropped(x, w, mask, v):
        hidden = ops.relu(ops.contract(x, w, spec="bi,io->bo"))
        scaled = ops.cast(ops.lt(mask, mask.full(0.2)), dtype=x.dtype)
        return ops.contract(hidden * scaled * 1.25, v, spec="bi,io->bo")

    graph = joint(dropped, (8, 8), (8, 8), (8, 8), (8, 4))
    assert kept(graph) == ["le bool[8, 8]", "mul f32[8, 8]"]
    check(graph)


def test_an_update_is_not_of_the_forward_pass():
    b = Builder("f")
    with building(b):
        x = b.input("x", "f32", (8,), "state")
        y = x * 2.0
        b.site = Site(origin="backward")
        g = y * y
        b.site = Site(origin="forward")
        new = x - g
    graph = b.graph([y], [(x, new)])
    assert new.node not in forward_nodes(graph)
    verify(rematerialize(graph))


def test_what_is_returned_costs_nothing():
    b = Builder("f")
    with building(b):
        x = b.input("x", "f32", (8,))
        y = ops.exp(x)
        z = ops.cast(ops.cast(y, dtype=ops.alias(x).dtype) * 2.0, dtype=x.dtype)
        b.site = Site(origin="backward")
        g = z * z
    graph = b.graph([z, g])
    assert choose_kept(graph, forward_nodes(graph)) == {z}
    assert rematerialize(graph).nodes == graph.nodes


def test_sites_say_backward():
    graph = joint(lambda x: ops.relu(x * 3.0) * x, (4,))
    again = rematerialize(graph)
    new = [n for n in again.nodes if n not in graph.nodes]
    assert new and all(n.site.origin == "backward" for n in new)


@pytest.mark.parametrize("start", range(0, 60, 30))
def test_random_cuts_keep_the_meaning(start):
    """Any first part of any graph as its forward pass."""
    for seed in range(start, start + 30):
        graph = random_graph(seed, symbolic=seed % 2 == 1)
        sizes = random_sizes(graph, seed)
        forward = graph.nodes[: len(graph.nodes) // 2]
        again = verify(rematerialize(graph, forward, values=sizes))
        arrays = random_arrays(graph, seed, sizes)
        before, after = interpret(graph, arrays, sizes), interpret(again, arrays, sizes)
        for a, b in zip((*before[0], *before[1]), (*after[0], *after[1]), strict=True):
            assert not differences(a, b), seed


def test_nothing_dear_is_redone():
    for seed in range(40):
        graph = random_graph(seed)
        again = rematerialize(graph, graph.nodes[: len(graph.nodes) // 2])
        count = lambda g: sum(not is_cheap(n) for n in g.nodes)  # noqa: E731
        assert count(again) == count(graph)


def test_long_chains_are_redone():
    """Deeper than Python's stack."""
    b = Builder("f")
    with building(b):
        x = b.input("x", "f32", (4,))
        y = x
        for _ in range(1500):
            y = y * x
        b.site = Site(origin="backward")
        graph = b.graph([y * y, x])
    assert kept(graph) == []
    assert len(check(graph)) == 3001
