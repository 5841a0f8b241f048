"""Each scalar function in LLVM, by number and by lane, on several machines, against its meaning in NumPy."""

import math

import numpy as np
import pytest
from compiled_nests import run_kernel

from gristmill.codegen.detect import host, level
from gristmill.ir.dtypes import REAL, DType, bool_, float32, float64, int64
from gristmill.ir.loops import (
    INTRINSICS,
    Apply,
    Const,
    Kernel,
    Loop,
    Store,
    buffer,
    interpret,
    load,
)
from gristmill.ir.loops.intrinsics import ULPS, result_dtype
from gristmill.ir.op import OPS
from gristmill.ir.ops.elementwise import ElementwiseOp
from gristmill.ir.sizes import poly

APART = ("cast", "bitcast", "select", "philox")  # have operands of other kinds
OF_FLOATS = [*ULPS, "div", "floor", "ceil", "trunc", "round", "sqrt", "rsqrt", "isnan"]
OF_INTEGERS = ["shl", "shr", "and", "or", "xor", "not"]
OF_BOOLS = ["and", "or", "xor", "not", "eq", "ne", "lt", "le", "gt", "ge", "min", "max", "add", "mul"]
ANY_ZERO = ("minnum", "maxnum")  # of 0 and -0 they may give either
WHOLE = [d for d in REAL if d.itemsize != 2 or d.kind != "f"]  # halves never reach arithmetic
TARGETS = {"host": host(), "v3": level("x86-64-v3"), "v1": level("x86-64")}
LANES = 16


def names_for(kind: str) -> list[str]:
    if kind == "b":
        return OF_BOOLS
    not_these = OF_INTEGERS if kind == "f" else [n for n in OF_FLOATS if n != "pow"]
    return [n for n in INTRINSICS if n not in (*APART, *not_these)]


def values_of(dtype: DType) -> np.ndarray:
    rng = np.random.default_rng(5)
    if dtype.kind == "b":
        return np.array([False, True, True, False])
    if dtype.kind == "f":
        special = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 7.0, -3.0, np.inf, -np.inf, np.nan, 1e-40, 3e38]
        with np.errstate(over="ignore"):
            return np.array([*special, *(rng.standard_normal(17) * 3)]).astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    some = [info.min, info.max, 0, 1, 2, 3, 5, 7, 31, -1, -2, -7]
    drawn = map(int, rng.integers(-9, 40, 20))
    return np.array([v if v >= info.min else -v for v in (*some, *drawn)]).astype(dtype.numpy)


def loop_over(n: int, body: list, vector: bool) -> tuple:
    """All of ``n`` elements, one after another or by lanes; the index of an access is ``i``."""
    if not vector:
        return (Loop("i", n, tuple(body)),)
    lanes = Loop("i1", LANES, tuple(body), "vector", LANES, n - poly("i0") * LANES)
    return (Loop("i0", -(-n // LANES), (lanes,)),)


def place(vector: bool):
    return poly("i0") * LANES + poly("i1") if vector else poly("i")


def functions_of(dtype: DType, n: int, vector: bool, names: list[str]) -> Kernel:
    """A kernel with an output for each function."""
    a, b = buffer("a", dtype, [n], role="in"), buffer("b", dtype, [n], role="in")
    i, outs, body = place(vector), [], []
    for name in names:
        operands = (load(a, i), load(b, i), load(a, i))[: INTRINSICS[name].arity]
        result = result_dtype(name, [dtype] * len(operands))
        outs.append(buffer(f"y_{name}", result, [n], role="out"))
        body.append(Store(f"y_{name}", (i,), Apply(name, operands, result)))
    return Kernel(f"functions_{dtype.name}", (a, b, *outs), (), loop_over(n, body, vector))


def results(kernel: Kernel, given: dict[str, np.ndarray], target) -> dict[str, np.ndarray]:
    outs = {o.name: np.zeros(o.shape, o.dtype.numpy) for o in kernel.params if o.role == "out"}
    return run_kernel(kernel, given | outs, target=target)


def meant(kernel: Kernel, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    outs = {o.name: np.zeros(o.shape, o.dtype.numpy) for o in kernel.params if o.role == "out"}
    interpret(kernel, given | outs)
    return outs


def different(want: np.ndarray, got: np.ndarray, any_zero: bool = False) -> np.ndarray:
    """Where two results differ in a bit (NaN aside)."""
    if want.dtype.kind in "biu":
        return np.flatnonzero(want != got)
    with np.errstate(invalid="ignore"):
        w, g = want.astype(np.float64), got.astype(np.float64)
    same = (w == g) & (any_zero | (np.signbit(w) == np.signbit(g)))
    return np.flatnonzero(~(same | (np.isnan(w) & np.isnan(g))))


def far(want: np.ndarray, got: np.ndarray, ulps: float) -> np.ndarray:
    """Where a result is more than ``ulps`` units from the wider one wanted, or special values differ."""
    kind = got.dtype.type
    info = np.finfo(kind)
    with np.errstate(all="ignore"):
        near = want.astype(kind)
        unit = np.maximum(np.spacing(np.minimum(abs(near), info.max)), info.smallest_subnormal)
        close = abs(got.astype(np.longdouble) - want) <= ulps * unit
        same = (near == got) & ((got != 0) | (np.signbit(near) == np.signbit(got)))
        edge = np.isinf(near) & (abs(got) == info.max) | (np.isinf(got) & (abs(near) == info.max))
    return np.flatnonzero(~(close & ((got != 0) | (np.signbit(near) == np.signbit(got))) | same | edge
                            | (np.isnan(near) & np.isnan(got))))  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("vector", [False, True], ids=["number", "lanes"])
@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_exact_functions(dtype, vector, target):
    """Over all pairs of values; ``fma`` rounds once only where the machine can."""
    values = values_of(dtype)
    n = len(values) ** 2
    names = [n for n in names_for(dtype.kind) if dtype.kind != "f" or n not in ULPS]
    if target == "v1" and dtype.kind == "f":
        names.remove("fma")
    kernel = functions_of(dtype, n, vector, names)
    first, second = (m.ravel() for m in np.meshgrid(values, values, indexing="ij"))
    given = {"a": first.copy(), "b": second.copy()}
    want, got = wanted(dtype, given, kernel, tuple(names)), results(kernel, given, TARGETS[target])
    for name in names:
        w, g = want[f"y_{name}"], got[f"y_{name}"]
        wrong = different(w, g, name in ANY_ZERO)
        assert not len(wrong), (name, [(first[k], second[k], w[k], g[k]) for k in wrong[:4]])


WANTED: dict = {}


def wanted(dtype: DType, given: dict, kernel: Kernel, names: tuple) -> dict:
    """What the interpreter gives, once a dtype: it is the same for every machine."""
    if (dtype, names) not in WANTED:
        WANTED[dtype, names] = meant(kernel, given)
    return WANTED[dtype, names]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


EXACT = {name: getattr(np, name) for name in ("exp", "log", "log1p", "expm1", "sin", "cos", "tanh")}
EXACT |= {"sigmoid": sigmoid, "erf": lambda x: np.array([math.erf(v) for v in x], x.dtype)}


def arguments(dtype: DType) -> np.ndarray:
    """Specials, and numbers of every size."""
    rng = np.random.default_rng(9)
    big = 38 if dtype is float32 else 307
    special = [0.0, 1.0, 0.5, 2.0, 1e-40, 1e-310, np.inf, np.nan, np.pi, 1e5, 1.7e6, 1e22, 88.7, 709.7, 103.0, 745.0]
    spread = 10 ** rng.uniform(-big, big, 3000)
    usual = np.abs(rng.standard_normal(6000)) * np.repeat([0.1, 1, 30], 2000)
    angle = np.arange(1, 400) * (np.pi / 2)
    both = np.concatenate([special, spread, usual, angle, 1 + rng.uniform(-1e-3, 1e-3, 500)])
    return np.concatenate([both, -both]).astype(dtype.numpy)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("vector", [False, True], ids=["number", "lanes"])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_functions_within_units_in_the_last_place(dtype, vector, target):
    x = arguments(dtype)
    kernel = functions_of(dtype, len(x), vector, list(EXACT))
    got = results(kernel, {"a": x, "b": x}, TARGETS[target])
    for name, function in EXACT.items():
        with np.errstate(all="ignore"):
            want = function(x.astype(np.longdouble))
        wrong = far(want, got[f"y_{name}"], ULPS[name])
        assert not len(wrong), (name, [(x[k], want[k], got[f"y_{name}"][k]) for k in wrong[:4]])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("vector", [False, True], ids=["number", "lanes"])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_powers(dtype, vector, target):
    rng = np.random.default_rng(2)
    special = np.array([0.0, 1, 2, 3, 0.5, 1.5, 1e30, 1e-30, np.inf, 1e10, 16777217, 33])
    special = np.concatenate([special, -special, [np.nan]])
    a, b = (m.ravel() for m in np.meshgrid(special, special, indexing="ij"))
    a = np.concatenate([a, rng.uniform(0, 20, 4000), 10 ** rng.uniform(-30, 30, 3000), -rng.uniform(0, 9, 500)])
    b = np.concatenate([b, rng.standard_normal(4000) * 5, rng.uniform(-2, 2, 3000), rng.integers(-9, 9, 500)])
    a, b = a.astype(dtype.numpy), b.astype(dtype.numpy)
    kernel = functions_of(dtype, len(a), vector, ["pow"])
    got = results(kernel, {"a": a, "b": b}, TARGETS[target])["y_pow"]
    with np.errstate(all="ignore"):
        want = np.power(a.astype(np.longdouble), b.astype(np.longdouble))
    wrong = far(want, got, ULPS["pow"])
    assert not len(wrong), [(a[k], b[k], want[k], got[k]) for k in wrong[:4]]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("vector", [False, True], ids=["number", "lanes"])
@pytest.mark.parametrize("source", REAL, ids=str)
def test_casts(source, vector, target):
    values = values_of(source)
    if source.kind == "f":
        with np.errstate(all="ignore"):
            more = [3e9, -3e9, 1e19, -1e19, 127.9, -128.5, 255.5, 256.0, 2147483647.0, 65519.0, 65520.0, 1e-41, 1e-7]
            odd = np.ldexp(1.0 + np.array([2**-11, 2**-11 + 2**-40, 3 * 2**-11, -(2**-30)]), [[0], [-14], [-17], [3]])
            many = np.concatenate([more, odd.ravel(), -odd.ravel()]).astype(source.numpy)
            every = np.arange(1 << 16, dtype=np.uint16).view(source.numpy) if source.itemsize == 2 else many
            values = np.concatenate([values, many, every])
    n, i = len(values), place(vector)
    x = buffer("x", source, [n], role="in")
    outs = [buffer(f"y_{d.name}", d, [n], role="out") for d in REAL if d is not source]
    body = [Store(o.name, (i,), Apply("cast", (load(x, i),), o.dtype)) for o in outs]
    kernel = Kernel(f"casts_{source}", (x, *outs), (), loop_over(n, body, vector))
    some = values[:: 1 if n < 5000 else 97]
    got = results(kernel, {"x": values}, TARGETS[target])
    few = Kernel("few", (buffer("x", source, [len(some)], role="in"),
                         *[buffer(o.name, o.dtype, [len(some)], role="out") for o in outs]), (),
                 loop_over(len(some), [Store(o.name, (place(False),), Apply("cast", (load(x, "i"),), o.dtype))
                                       for o in outs], False))  # fmt: skip
    want = meant(few, {"x": some.copy()})
    for o in outs:
        w, g = want[o.name], got[o.name][:: 1 if n < 5000 else 97]
        wrong = different(w, g)
        assert not len(wrong), (o.name, some[wrong][:4], w[wrong][:4], g[wrong][:4])


@pytest.mark.parametrize("vector", [False, True], ids=["number", "lanes"])
def test_random_bits_and_bitcasts(vector):
    n, i = 40, place(vector)
    k, c = buffer("k", int64, [n], role="in"), buffer("c", int64, [n], role="in")
    f, y = buffer("f", float64, [n], role="out"), buffer("y", int64, [n, 4], role="out")
    body = [Store("f", (i,), Apply("bitcast", (load(c, i),), float64))]
    for word in range(4):
        args = (load(k, i), load(c, i), Const(word, int64))
        body.append(Store("y", (i, poly(word)), Apply("philox", args, int64)))
    kernel = Kernel("bits", (k, c, f, y), (), loop_over(n, body, vector))
    rng = np.random.default_rng(7)
    given = {name: rng.integers(-(1 << 63), 1 << 62, n) for name in "kc"}
    want, got = meant(kernel, given), results(kernel, given, host())
    assert (want["y"] == got["y"]).all()
    assert want["f"].tobytes() == got["f"].tobytes()


def test_selects_of_every_dtype():
    for dtype in WHOLE:
        c = buffer("c", bool_, [20], role="in")
        a, b = buffer("a", dtype, [20], role="in"), buffer("b", dtype, [20], role="in")
        y, i = buffer("y", dtype, [20], role="out"), place(True)
        body = [Store("y", (i,), Apply("select", (load(c, i), load(a, i), load(b, i)), dtype))]
        kernel = Kernel("choose", (c, a, b, y), (), loop_over(20, body, True))
        values = np.resize(values_of(dtype), 40)
        given = {"c": np.arange(20) % 3 == 0, "a": values[:20].copy(), "b": values[20:].copy()}
        assert not len(different(meant(kernel, given)["y"], results(kernel, given, host())["y"])), dtype


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "erf", "expm1"])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_machines_agree_where_both_have_fma(name, dtype):
    """Scaled at once or by two products: the same bits, denormal and infinite results among them."""
    least, most = (-108, 92) if dtype is float32 else (-750, 715)
    x = np.linspace(least, most, 20011).astype(dtype.numpy)
    x[:4] = [np.nan, np.inf, -np.inf, -0.0]
    kernel = functions_of(dtype, len(x), True, [name])
    found = [results(kernel, {"a": x, "b": x}, target)[f"y_{name}"] for target in TARGETS.values() if target.has_fma]
    assert len(found) > 1 and not any(len(different(found[0], other)) for other in found[1:])


def test_ops_state_the_same_units():
    stated = {o.scalar: o.ulp for o in OPS.values() if isinstance(o, ElementwiseOp) and o.ulp}
    assert stated == {name: ULPS[name] for name in stated}
    assert {n for n in ULPS if n in OPS} == set(stated)
