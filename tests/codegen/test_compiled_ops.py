"""Each op as machine code against the interpreter: every real dtype, drawn shapes and strides, special values."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from op_examples import EXAMPLES, Example
from random_graphs import differences, random_array

from gristmill.codegen.executable import compile_graph
from gristmill.ir.dtypes import DTYPES, REAL, bool_, by_name, float32, int64
from gristmill.ir.graph import Builder, Graph, building
from gristmill.ir.interpret import interpret
from gristmill.ir.op import OPS
from gristmill.ir.ops.elementwise import ElementwiseOp

SUMS = ("sum", "contract", "scatter_add")
EPS = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-23, "f64": 2.0**-52}
QUIET = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def graph_of(op, arrays: list[np.ndarray], attributes: dict) -> Graph:
    b = Builder("f")
    with building(b):
        inputs = [b.input(f"x{i}", by_name(a.dtype.name), a.shape) for i, a in enumerate(arrays)]
        found = op(*inputs, **attributes)
    return b.graph(found if isinstance(found, tuple) else [found])


def laid_out(a: np.ndarray, order: list[int], gaps: list[int]) -> np.ndarray:
    """The same elements in other places: axes in another order in memory, gaps between elements."""
    strides, step = [0] * a.ndim, a.dtype.itemsize
    for axis in order:
        step *= gaps[axis]
        strides[axis] = step
        step *= max(a.shape[axis], 1)
    out = np.lib.stride_tricks.as_strided(np.zeros(step, np.uint8).view(a.dtype), a.shape, strides)
    out[...] = a
    return out


def check(op, arrays: list[np.ndarray], attributes: dict) -> None:
    """Compiled and interpreted, on operands as they lie in memory."""
    graph = graph_of(op, arrays, attributes)
    strides = [tuple(s // a.dtype.itemsize for s in a.strides) for a in arrays]
    run = compile_graph(graph, input_strides=strides)
    with np.errstate(all="ignore"):
        want, _ = interpret(graph, [np.array(a, order="C") for a in arrays])
    for got, expected in zip(run(arrays), want, strict=True):
        wrong = different(op, arrays, attributes, got, np.asarray(expected))
        assert not wrong, f"{wrong}\n{graph}strides {strides}\n{arrays}"
    if op.name not in ("argsort", "constant"):
        assert all(stage.launch is not None for stage in run.stages), graph


def different(op, arrays, attributes: dict, got: np.ndarray, want: np.ndarray) -> str:
    """Why two results differ by more than the op states, or nothing."""
    inexact = op.ulp or op.name in SUMS
    if got.dtype.kind in "biu" or not inexact or (got.dtype, got.shape) != (want.dtype, want.shape):
        return differences(got, want)
    x, y = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(all="ignore"):
        if op.name in SUMS:
            bound = EPS[by_name(got.dtype.name).name] * 20 * magnitudes(op, arrays, attributes)
        else:  # the reference may itself be off by a unit or two
            info = np.finfo(want.dtype) if want.dtype.kind == "f" else None
            least = float(info.smallest_subnormal) if info else 1e-40
            bound = (op.ulp + 2) * np.maximum(EPS[by_name(got.dtype.name).name] * np.abs(y), least)
        near = (np.abs(x - y) <= bound) | (x == y) | (np.isnan(x) & np.isnan(y))
    return "" if near.all() else f"{got[~near]} is not near {want[~near]}"


def magnitudes(op, arrays, attributes: dict) -> np.ndarray:
    """The sum of the sizes of what was added."""
    wide = [np.abs(a.astype(np.float64)) if a.dtype.kind != "i" else np.array(a) for a in arrays]
    (total,), _ = interpret(graph_of(op, wide, attributes), wide)
    return np.asarray(total) + 1e-30


def operands(example: Example, dtype, rng) -> list[np.ndarray]:
    special = 0.0 if example.op.name in SUMS else 0.2
    arrays = [np.array(random_array(rng, dtype, s, special)) for s in example.shapes]
    for i, make in example.fixed.items():
        arrays[i] = np.array(make(rng))
    return arrays


CASES = [(e, d) for e in EXAMPLES for d in (e.dtypes or (float32,)) if d in REAL]
OTHERS = [(e, d) for e, d in CASES if not isinstance(e.op, ElementwiseOp)]


@pytest.mark.parametrize(("example", "dtype"), OTHERS, ids=[f"{e}-{d.name}" for e, d in OTHERS])
def test_examples(example, dtype):
    rng = np.random.default_rng(len(str(example)))
    if example.op.name == "cast" and example.attributes.get("dtype") not in REAL:
        return
    check(example.op, operands(example, dtype, rng), example.attributes)


@st.composite
def layouts(draw, shape: tuple[int, ...]):
    """How an operand lies in memory."""
    order = draw(st.permutations(range(len(shape))))
    gaps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=len(shape), max_size=len(shape)))
    return list(order), gaps


SHAPES = st.sampled_from(
    [(), (1,), (0,), (2,), (7,), (16,), (17,), (64,), (131,), (3, 5), (1, 19), (16, 33), (4, 0, 3), (2, 1, 7), (5, 3, 2)]
)
TABLE = [op for op in OPS.values() if isinstance(op, ElementwiseOp) and any(d in REAL for d in op.dtypes)]


@pytest.mark.parametrize("op", TABLE, ids=lambda op: op.name)
def test_elementwise(op):
    """Every dtype; shapes and strides are drawn."""

    @QUIET
    @given(st.data(), st.integers(0, 2**20))
    def one(data, seed):
        dtype = data.draw(st.sampled_from([d for d in op.dtypes if d in REAL]))
        rng, shape = np.random.default_rng(seed), data.draw(SHAPES)
        arrays = [np.array(random_array(rng, dtype, shape, 0.2)) for _ in op.operands]
        check(op, [laid_out(a, *data.draw(layouts(shape))) for a in arrays], {})

    one()
    for dtype in op.dtypes:
        if dtype in REAL:
            rng = np.random.default_rng(3)
            check(op, [np.array(random_array(rng, dtype, (37,), 0.3)) for _ in op.operands], {})


@QUIET
@given(st.data(), st.integers(0, 2**20))
def test_broadcast_operands(data, seed):
    """A broadcast operand has strides of 0."""
    rng, shape = np.random.default_rng(seed), data.draw(SHAPES)
    a = np.array(random_array(rng, float32, shape, 0.2))
    b = np.broadcast_to(np.array(random_array(rng, float32, shape[-1:], 0.2)), shape)
    check(OPS["add"], [a, b], {})
    check(OPS["select"], [np.broadcast_to(np.array(True), shape), b, a], {})


@pytest.mark.parametrize("name", ["sum", "amax", "argmax"])
def test_reductions(name):
    @QUIET
    @given(st.data(), st.integers(0, 2**20))
    def one(data, seed):
        dtypes = [d for d in REAL if name == "amax" or d is not bool_]
        rng, shape = np.random.default_rng(seed), data.draw(SHAPES.filter(len))
        dtype = data.draw(st.sampled_from(dtypes))
        axes = tuple(sorted(data.draw(st.sets(st.sampled_from(range(len(shape)))))))
        if name == "argmax":
            axes = axes[:1] or (0,)
        if name != "sum" and any(shape[a] == 0 for a in axes):
            return
        a = np.array(random_array(rng, dtype, shape, 0.0 if name == "sum" else 0.1))
        a = laid_out(a, *data.draw(layouts(shape)))
        check(OPS[name], [a], {"axis": axes[0]} if name == "argmax" else {"axes": axes})

    one()


SPECS = ["bi,oi->bo", "bi,io->bo", "ab,abc->ac", "i,i->", "a,b->ba", "nai,nib->nab", "ab,ab->ab"]


@pytest.mark.parametrize("spec", SPECS)
def test_contractions(spec):
    @QUIET
    @given(st.data(), st.integers(0, 2**20))
    def one(data, seed):
        rng = np.random.default_rng(seed)
        dtype = data.draw(st.sampled_from([d for d in REAL if d is not bool_]))
        extent = {n: data.draw(st.sampled_from([0, 1, 2, 5, 13, 16, 37])) for n in set(spec) - set(",->")}
        arrays = []
        for part in spec.split("->")[0].split(","):
            shape = tuple(extent[n] for n in part)
            a = np.array(random_array(rng, dtype, shape, 0.0))
            arrays.append(laid_out(a, *data.draw(layouts(shape))))
        check(OPS["contract"], arrays, {"spec": spec})

    one()


@QUIET
@given(st.data(), st.integers(0, 2**20))
def test_casts(data, seed):
    rng, shape = np.random.default_rng(seed), data.draw(SHAPES)
    source, to = data.draw(st.tuples(st.sampled_from(REAL), st.sampled_from(REAL)))
    a = np.array(random_array(rng, source, shape, 0.3))
    check(OPS["cast"], [laid_out(a, *data.draw(layouts(shape)))], {"dtype": to})


@QUIET
@given(st.data(), st.integers(0, 2**20))
def test_scatters_with_equal_places(data, seed):
    rng = np.random.default_rng(seed)
    dtype = data.draw(st.sampled_from([d for d in DTYPES if d in REAL and d is not bool_]))
    n, m, k = (data.draw(st.sampled_from([1, 3, 17, 40])) for _ in range(3))
    axis = data.draw(st.sampled_from([0, 1]))
    x = np.array(random_array(rng, dtype, (n, m), 0.0))
    source = np.array(random_array(rng, dtype, (k, m) if axis == 0 else (n, k), 0.0))
    index = rng.integers(0, (n, m)[axis], source.shape)
    check(OPS["scatter_add"], [x, index.astype(int64.numpy), source], {"axis": axis})


def test_elements_of_a_layout_are_the_same():
    a = np.arange(30).reshape(2, 3, 5)
    b = laid_out(a, [1, 2, 0], [1, 2, 3])
    assert (a == b).all()
    assert b.strides == (720, 16, 144)
