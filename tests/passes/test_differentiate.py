"""Differentiation of whole graphs: what the walk appends, where it ends, and that it is right."""

import textwrap

import numpy as np
import pytest

from gristmill.ir import ops
from gristmill.ir.graph import Builder, building
from gristmill.ir.interpret import interpret
from gristmill.ir.verify import verify
from gristmill.passes.differentiate import differentiate
from gristmill.passes.simplify import simplify


@pytest.fixture
def b():
    builder = Builder("f")
    with building(builder):
        yield builder


def body(graph) -> str:
    return textwrap.dedent("\n".join(str(simplify(verify(graph))).splitlines()[1:-1]))


def test_a_linear_layer(b):
    x, w, bias, g = (b.input(n, "f64", s) for n, s in (("x", (3, 2)), ("w", (4, 2)), ("b", (4,)), ("g", (3, 4))))
    y = ops.contract(x, ops.permute(w, order=(1, 0)), spec="bi,io->bo") + ops.broadcast(bias, shape=(3, 4))
    found = differentiate({y: g}, [x, w, bias])
    assert body(b.graph([found[v] for v in (x, w, bias)])) == textwrap.dedent("""\
        %0: f64[4] = sum(%g) axes=(0,)
        %1: f64[3, 2] = contract(%g, %w) spec="bo,oi->bi"
        %2: f64[4, 2] = contract(%g, %x) spec="bo,bi->oi"
        return %1, %2, %0""")


def test_uses_add_up(b):
    x, g = b.input("x", "f32", (2,)), b.input("g", "f32", (2,))
    found = differentiate({x * x + x: g}, [x])
    (out,), _ = interpret(b.graph([found[x]]), [np.float32([3, -1]), np.float32([1, 10])])
    assert out.tolist() == [7, -10]


def test_detach_and_integers_pass_nothing(b):
    x, i, g = b.input("x", "f32", (3,)), b.input("i", "i64", (2,)), b.input("g", "f32", (2,))
    assert differentiate({ops.detach(ops.gather(x, i, axis=0)): g}, [x]) == {}
    found = differentiate({ops.gather(x, i, axis=0): g}, [x, i])
    assert list(found) == [x]


def test_a_write_that_autograd_did_not_see(b):
    """``overwrite(old, new)`` has the value of ``new``; its derivative goes to ``old``."""
    x, y, g = (b.input(n, "f32", (1,)) for n in "xyg")
    found = differentiate({ops.overwrite(x * 2.0, y): g}, [x, y])
    assert list(found) == [x]
    assert interpret(b.graph([found[x]]), [np.float32([v]) for v in (1, 2, 3)])[0][0] == 6


def test_tracked_values_are_leaves_where_nothing_is_asked_for(b):
    x, y, g = (b.input(n, "f32", (2,)) for n in "xyg")
    x.tracked = True
    product = x * y
    product.tracked = True
    assert list(differentiate({product: g})) == [x]


def test_the_walk_ends_at_a_leaf(b):
    x, g = b.input("x", "f32", (2,)), b.input("g", "f32", (2,))
    middle = ops.exp(x)
    for value in (x, middle):
        value.tracked = True
    y = middle * 3.0
    y.tracked = True
    entered = []
    found = differentiate({y: g}, is_leaf=lambda v: v is middle, enter=lambda n: entered.append(n.op.name))
    assert list(found) == [middle] and entered == ["mul"]


def test_results_in_the_middle_may_be_asked_for(b):
    x, g = b.input("x", "f64", (2,)), b.input("g", "f64", (2,))
    y = ops.sin(x)
    found = differentiate({y * y: g}, [x, y])
    arrays = [np.array([0.3, 2.0]), np.array([1.0, -1.0])]
    at_x, at_y = interpret(b.graph([found[x], found[y]]), arrays)[0]
    np.testing.assert_allclose(at_y, arrays[1] * 2 * np.sin(arrays[0]))
    np.testing.assert_allclose(at_x, at_y * np.cos(arrays[0]))


def test_third_derivative(b):
    x, one = b.input("x", "f64", ()), b.input("one", "f64", ())
    y = ops.tanh(x)
    for _ in range(3):
        y = differentiate({y: one}, [x])[x]
    (found,), _ = interpret(b.graph([y]), [np.array(0.4), np.array(1.0)])
    t = np.tanh(0.4)
    assert found == pytest.approx((1 - t * t) * (6 * t * t - 2))


def test_symbolic_sizes(b):
    x, w = b.input("x", "f64", ("n", 3)), b.input("w", "f64", (3,))
    y = ops.sum_(ops.relu(x * ops.broadcast(w, shape=x.shape)), axes=(0, 1))
    found = differentiate({y: y.full(1.0)}, [x, w])
    graph = verify(simplify(verify(b.graph([found[x], found[w]]))))
    rng = np.random.default_rng(1)
    xs, ws = rng.normal(size=(5, 3)), rng.normal(size=3)
    at_x, at_w = interpret(graph, [xs, ws])[0]
    positive = (xs * ws > 0).astype(float)
    np.testing.assert_allclose(at_x, positive * ws)
    np.testing.assert_allclose(at_w, (positive * xs).sum(0))
