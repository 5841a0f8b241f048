"""Every op against libraries we did not write, by its rows in ``op_examples``."""

import numpy as np
import pytest
from op_examples import EXACT, EXAMPLES, Example
from random_graphs import random_array

from gristmill.ir.dtypes import COMPLEX, FLOATS, by_name, float32, float64
from gristmill.ir.graph import Builder, Graph, building
from gristmill.ir.interpret import interpret
from gristmill.ir.op import OPS
from gristmill.ir.parse import parse_graph
from gristmill.ir.verify import verify
from gristmill.passes.differentiate import differentiate

SUMS = ("sum", "contract", "scatter_add")
EPS = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-23, "f64": 2.0**-52, "c64": 2.0**-22, "c128": 2.0**-50}
CASES = [(example, dtype) for example in EXAMPLES for dtype in (example.dtypes or (float32,))]


def operands_of(example: Example, dtype, rng, special: float = 0.15) -> list[np.ndarray]:
    """Operands in ``dtype``, but for those that the example fixes."""
    if example.op.name in SUMS or dtype in COMPLEX:
        special = 0.0
    arrays = [random_array(rng, dtype, shape, special) for shape in example.shapes]
    for i, make in example.fixed.items():
        arrays[i] = make(rng)
    return arrays


def graph_of(example: Example, arrays) -> Graph:
    b = Builder("f")
    with building(b):
        names = {np.dtype(a.dtype).name for a in arrays}
        assert names or not arrays
        inputs = [b.input(f"x{i}", by_name(a.dtype.name), a.shape) for i, a in enumerate(arrays)]
        found = example.op(*inputs, **example.attributes)
    return verify(b.graph(found if isinstance(found, tuple) else [found]))


def wide(array: np.ndarray) -> np.ndarray:
    """Floats in float64, complex numbers in complex128."""
    if array.dtype.kind in "biu":
        return array
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def test_every_op_has_an_example():
    assert {e.op.name for e in EXAMPLES} == set(OPS) - {"input", "call"}
    assert set(EXACT) <= set(OPS)


@pytest.mark.parametrize(("example", "dtype"), CASES, ids=[f"{e}-{d.name}" for e, d in CASES])
def test_reference_is_exact(example, dtype):
    rng = np.random.default_rng(len(str(example)))
    arrays = operands_of(example, dtype, rng)
    graph = graph_of(example, arrays)
    (found,), _ = interpret(graph, arrays)
    (value,) = graph.outputs
    assert (found.dtype, found.shape) == (value.dtype.numpy, value.shape)
    if example.exact is None:
        return
    with np.errstate(all="ignore"):
        exact = np.asarray(example.exact(*map(wide, arrays), **example.attributes))
        bound = 2 * EPS.get(value.dtype.name, 0) * max(example.op.ulp, 1)
        if example.op.name in SUMS:  # a bound by the magnitudes that were added, and their count
            sizes = [np.abs(wide(a)) if a.dtype.kind != "i" or i != 1 else a for i, a in enumerate(arrays)]
            slack = bound * 12 * np.max(np.abs(example.exact(*sizes, **example.attributes)), initial=1)
        else:
            slack = bound * (2.0**-14 if value.dtype.name == "f16" else 0)
        expected = exact.astype(found.dtype)
    if value.dtype not in (*FLOATS, *COMPLEX):
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(wide(found), wide(expected), rtol=bound, atol=slack, equal_nan=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_reads_back(example):
    arrays = operands_of(example, (example.dtypes or (float32,))[-1], np.random.default_rng(0))
    text = str(graph_of(example, arrays))
    assert str(verify(parse_graph(text))) == text


# ---- derivatives ----

SMOOTH = [
    (example, dtype)
    for example in EXAMPLES
    for dtype in (float64, COMPLEX[1])
    if example.smooth and dtype in example.dtypes and example.op.vjp and all(0 not in s for s in example.shapes)
]


def smooth_operands(example: Example, dtype, rng) -> list[np.ndarray]:
    """Away from the poles, and from the places where pieces meet."""
    arrays = [rng.uniform(0.3, 2.0, shape) for shape in example.shapes]
    if dtype in COMPLEX:
        arrays = [a + 1j * rng.uniform(0.3, 1.0, a.shape) for a in arrays]
    for i, make in example.fixed.items():
        arrays[i] = make(rng)
    return arrays


def pull_back(example: Example, arrays, order: int) -> tuple[Graph, list[int]]:
    """The graph ``(*operands, cotangent..., ) -> cotangents of the operands``, ``order`` times differentiated."""
    b = Builder("pullback")
    wrt = [i for i, a in enumerate(arrays) if a.dtype.kind in "fc" and example.op.vjp_of(i) is not None]
    with building(b):
        xs = [b.input(f"x{i}", by_name(a.dtype.name), a.shape) for i, a in enumerate(arrays)]
        outputs = [example.op(*xs, **example.attributes)]
        for k in range(order):
            seeds = {}
            for i, y in enumerate(outputs):
                g = b.input(f"g{k}_{i}", y.dtype, y.shape)
                seeds[y] = g if y not in seeds else seeds[y] + g
            found = differentiate(seeds, [xs[i] for i in wrt])
            outputs = [found[xs[i]] if xs[i] in found else xs[i].full(0) for i in wrt]
    return verify(b.graph(outputs)), wrt


def dot(cotangents, tangents) -> float:
    return sum(float(np.sum(np.real(np.conj(c) * t))) for c, t in zip(cotangents, tangents, strict=True))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("example", "dtype"), SMOOTH, ids=[f"{e}-{d.name}" for e, d in SMOOTH])
def test_derivative_against_differences(example, dtype, order):
    """``<J^T g, t>`` against ``<g, (f(x + ht) - f(x - ht)) / 2h>``; for the second order f is the first derivative."""
    rng = np.random.default_rng(7)
    arrays = smooth_operands(example, dtype, rng)
    graph, wrt = pull_back(example, arrays, order)
    seeds = [v for v in graph.inputs if v.node.attributes[0].startswith("g")]
    draw = lambda shape: rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype in COMPLEX else 0)  # noqa: E731
    given = [draw(v.shape) for v in seeds]
    last = [g for g, v in zip(given, seeds, strict=True) if v.node.attributes[0].startswith(f"g{order - 1}")]
    before = given[: len(given) - len(last)]
    below = pull_back(example, arrays, order - 1)[0]
    tangents = {i: draw(arrays[i].shape) for i in wrt}
    h = 1e-6

    def moved(sign):
        xs = [a + sign * h * tangents[i] if i in tangents else a for i, a in enumerate(arrays)]
        return interpret(below, [*xs, *before])[0]

    numeric = dot(last, [(p - m) / (2 * h) for p, m in zip(moved(1), moved(-1), strict=True)])
    found = interpret(graph, [*arrays, *given])[0]
    assert dot(found, tangents.values()) == pytest.approx(numeric, rel=2e-6, abs=2e-6)
