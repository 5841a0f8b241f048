"""Random graphs: they verify, print and read back, and cover every op and dtype."""

from collections import Counter

import pytest
from random_graphs import differences, random_arrays, random_graph, random_sizes

from gristmill.ir.interpret import interpret
from gristmill.ir.op import OPS
from gristmill.ir.parse import parse_graph
from gristmill.ir.verify import verify


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("start", range(0, 150, 50))
def test_graphs_verify_read_back_and_run(symbolic, start):
    for seed in range(start, start + 50):
        graph = verify(random_graph(seed, symbolic=symbolic))
        text = str(graph)
        again = verify(parse_graph(text))
        assert str(again) == text, seed
        sizes = random_sizes(graph, seed)
        arrays = random_arrays(graph, seed, sizes)
        for one, other in zip(interpret(graph, arrays, sizes), interpret(again, arrays, sizes), strict=True):
            for a, b in zip(one, other, strict=True):
                assert not differences(a, b), seed


def test_types_are_what_runs():
    for seed in range(60):
        graph = random_graph(seed)
        outputs, written = interpret(graph, random_arrays(graph, seed))
        for value, array in zip(graph.roots, [*outputs, *written], strict=True):
            assert (array.shape, array.dtype) == (value.shape, value.dtype.numpy), (seed, value)


def test_every_op_is_drawn():
    seen = Counter(node.op.name for seed in range(150) for node in random_graph(seed).nodes)
    assert set(OPS) - set(seen) == {"input", "call"}
