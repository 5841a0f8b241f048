"""Scalar functions in CUDA C against their meaning in NumPy, for every dtype, on awkward values."""

import shutil
import subprocess

import cuda_emulator as emulator
import numpy as np
import pytest

from gristmill.codegen.cuda.detect import SM_90
from gristmill.codegen.cuda.math import constant, spell
from gristmill.codegen.cuda.write import write
from gristmill.ir.dtypes import REAL, DType, by_name, float32, int8, int32, int64
from gristmill.ir.errors import DTypeError
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
from gristmill.ir.loops.intrinsics import result_dtype
from gristmill.ir.sizes import poly
from gristmill.passes.schedule.schedule import schedule

pytestmark = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing())

APART = ("cast", "bitcast", "select", "philox")  # have operands of other kinds
ROUNDED = ["exp", "log", "log1p", "expm1", "sin", "cos", "tanh", "sigmoid", "erf", "pow"]  # to ULPs
EXACT = ["div", "floor", "ceil", "trunc", "round", "sqrt", "rsqrt", "isnan"]
ANY_ZERO = ["minnum", "maxnum"]  # of 0 and -0 they may give either
INTEGER_ONLY = ["shl", "shr", "and", "or", "xor", "not"]
BOOLS = ["and", "or", "xor", "not", "eq", "ne", "lt", "le", "gt", "ge", "min", "max", "add", "mul"]


def names_for(kind: str) -> list[str]:
    if kind == "b":
        return BOOLS
    apart = INTEGER_ONLY if kind == "f" else [*EXACT, *ROUNDED[:-1]]
    return [n for n in INTRINSICS if n not in (*APART, *apart)]


def values_of(dtype: DType, rng: np.random.Generator) -> np.ndarray:
    if dtype.kind == "b":
        return np.array([False, True, True, False, False, True])
    if dtype.kind == "f":
        special = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 7.0, -3.0, np.inf, -np.inf, np.nan]
        return np.array([*special, *(rng.standard_normal(19) * 3)], dtype.numpy)
    info = np.iinfo(dtype.numpy)
    some = [info.min, info.max, 0, 1, 2, 3, 5, 7, 31, -1, -2, -7]
    drawn = rng.integers(-9, 40, 20)
    return np.array([v if v >= info.min else -v for v in (*some, *map(int, drawn))]).astype(
        dtype.numpy
    )


def run(kernel: Kernel, arrays: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """What the interpreter and the emulator give."""
    done = schedule(kernel, [])
    got = emulator.run(done, write(done, SM_90), arrays, {}, 3)
    interpret(done, arrays)
    return arrays, got


WHOLE = [d for d in REAL if d.itemsize != 2 or d.kind != "f"]  # halves never reach arithmetic


def functions_of(dtype: DType, n: int) -> Kernel:
    """A kernel with an output for each function."""
    a, b, i = buffer("a", dtype, [n], role="in"), buffer("b", dtype, [n], role="in"), poly("i")
    outs, body = [], []
    for name in names_for(dtype.kind):
        operands = (load(a, "i"), load(b, "i"), load(a, "i"))[: INTRINSICS[name].arity]
        result = result_dtype(name, [dtype] * len(operands))
        outs.append(buffer(f"y_{name}", result, [n], role="out"))
        body.append(Store(f"y_{name}", (i,), Apply(name, operands, result)))
    return Kernel(f"functions_{dtype.name}", (a, b, *outs), (), (Loop("i", n, tuple(body)),))


def casts_of(source: DType, n: int) -> Kernel:
    """A kernel with an output for each other dtype."""
    x = buffer("x", source, [n], role="in")
    outs = [buffer(f"y_{d.name}", d, [n], role="out") for d in REAL if d is not source]
    body = [Store(o.name, (poly("i"),), Apply("cast", (load(x, "i"),), o.dtype)) for o in outs]
    return Kernel(f"casts_{source.name}", (x, *outs), (), (Loop("i", n, tuple(body)),))


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_functions(dtype):
    """Over all pairs of values."""
    values = values_of(dtype, np.random.default_rng(5))
    n = len(values) ** 2
    kernel = functions_of(dtype, n)
    outs = kernel.params[2:]
    first, second = (m.ravel() for m in np.meshgrid(values, values, indexing="ij"))
    arrays = {"a": first.copy(), "b": second.copy()}
    arrays |= {o.name: np.zeros(n, o.dtype.numpy) for o in outs}
    want, got = run(kernel, arrays)
    for o in outs:
        name = o.name[2:]
        wrong = different(want[o.name], got[o.name], name in (*ROUNDED, *ANY_ZERO))
        if name == "pow" and dtype.kind == "f":  # NumPy takes the square root of -inf: no number
            wrong = wrong[~(np.isneginf(first[wrong]) & (second[wrong] == 0.5))]
        found = [(first[k], second[k], want[o.name][k], got[o.name][k]) for k in wrong[:4]]
        assert not found, (name, found)


def different(want: np.ndarray, got: np.ndarray, rounded: bool) -> np.ndarray:
    """Where two results differ: in a bit, or (NaN aside) by more than some ULPs."""
    if want.dtype.kind != "f":
        return np.flatnonzero(want != got)
    both = np.isnan(want) & np.isnan(got)
    same = (want == got) & (np.signbit(want) == np.signbit(got))
    if rounded:
        same |= np.isclose(want, got, rtol=16 * np.finfo(want.dtype).eps, atol=1e-300)
    return np.flatnonzero(~(same | both))


@pytest.mark.parametrize("source", REAL, ids=str)
def test_casts(source):
    rng = np.random.default_rng(6)
    values = values_of(source, rng)
    if source.kind == "f" and source.itemsize > 2:
        far = [
            3e9,
            -3e9,
            1e19,
            -1e19,
            127.9,
            -128.5,
            255.5,
            256.0,
            2147483647.0,
            65519.0,
            1e-41,
            1e-7,
        ]
        values = np.concatenate([values, np.array(far, source.numpy)])
    n = len(values)
    kernel = casts_of(source, n)
    outs = kernel.params[1:]
    want, got = run(kernel, {"x": values} | {o.name: np.zeros(n, o.dtype.numpy) for o in outs})
    for o in outs:
        w, g = want[o.name], got[o.name]
        if o.dtype.kind == "f":
            w, g = w.astype(np.float64), g.astype(np.float64)
        wrong = different(w, g, False)
        assert not len(wrong), (o.name, values[wrong], w[wrong], g[wrong])


def test_random_bits_and_bitcasts():
    n = 40
    k, c = buffer("k", int64, [n], role="in"), buffer("c", int64, [n], role="in")
    f, y = buffer("f", float32, [n], role="out"), buffer("y", int64, [n, 4], role="out")
    i = poly("i")
    body = [Store("f", (i,), Apply("bitcast", (Apply("cast", (load(c, "i"),), int32),), float32))]
    for word in range(4):
        args = (load(k, "i"), load(c, "i"), Const(word, int64))
        body.append(Store("y", (i, poly(word)), Apply("philox", args, int64)))
    kernel = Kernel("bits", (k, c, f, y), (), (Loop("i", n, tuple(body)),))
    rng = np.random.default_rng(7)
    arrays = {name: rng.integers(-(1 << 63), 1 << 62, n) for name in "kc"}
    arrays |= {"f": np.zeros(n, np.float32), "y": np.zeros((n, 4), np.int64)}
    want, got = run(kernel, arrays)
    assert (want["y"] == got["y"]).all()
    assert want["f"].tobytes() == got["f"].tobytes()


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_nvcc_takes_all_spellings(tmp_path):
    kernels = [*(functions_of(d, 9) for d in WHOLE), *(casts_of(d, 9) for d in REAL)]
    every = [write(schedule(kernel, []), SM_90) for kernel in kernels]
    functions = dict.fromkeys(f for emitted in every for f in emitted.functions)
    source = tmp_path / "all.cu"
    ordered = sorted(functions, key=lambda f: not f.startswith("#"))
    source.write_text("\n".join([*ordered, *(emitted.kernels for emitted in every)]))
    command = ["nvcc", "-cubin", "-arch=sm_90", "-std=c++17", "-Werror=all-warnings", "-o",
               str(tmp_path / "all.cubin"), str(source)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.1, "f32", "0.1f"), (1.0, "f32", "1.0f"), (-2.5, "f64", "(-2.5)"), (1e-30, "f32", "1e-30f"),
        (float("inf"), "f32", "INFINITY"), (float("-inf"), "f64", "(-INFINITY)"), (True, "bool", "true"),
        (-(1 << 31), "i32", "(-2147483647 - 1)"), (-(1 << 63), "i64", "(-9223372036854775807LL - 1)"),
        (-3, "i8", "(-3)"), (0.5, "bf16", "__float2bfloat16(0.5f)"), (2, "f16", "__float2half(2.0f)"),
    ],
)  # fmt: skip
def test_constants(value, dtype, text):
    assert constant(value, by_name(dtype)) == text


def test_a_function_without_a_spelling_is_refused():
    with pytest.raises(DTypeError, match="no spelling of sin for i8"):
        spell("sin", ["x"], int8, int8, {})
