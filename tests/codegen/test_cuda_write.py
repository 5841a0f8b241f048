"""Scheduled nests as CUDA C: short golden texts, and the same values as the interpreter in the emulator."""

import shutil
import subprocess
from dataclasses import replace

import cuda_emulator as emulator
import numpy as np
import pytest

from gristmill.codegen.cuda.detect import SM_90
from gristmill.codegen.cuda.write import Emitted, write
from gristmill.codegen.detect import level
from gristmill.ir.errors import ScheduleError
from gristmill.ir.loops import Kernel, interpret, parse
from gristmill.passes.schedule.schedule import schedule
from gristmill.passes.schedule.simt import schedule_simt

emulated = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing())

RELU = """\
kernel relu[n](in x: {t}[n], in low: {t}[], out y: {t}[n]) {{
  let s: {t}[] in registers
  s[] = (low[] + low[])
  for i in n {{ let t: {t}[] in registers  t[] = (x[i] * x[i])  y[i] = max((t[] - x[i]), s[]) }}
}}"""
BIAS = """\
kernel bias(in x: f32[3, 5, 7, 9], in b: f32[9], out y: f32[3, 5, 7, 9]) {
  for i in 3 { for j in 5 { for k in 7 { for l in 9 { y[i, j, k, l] = (x[i, j, k, l] + b[l]) } } } }
}"""
HALF = """\
kernel half[n](in x: bf16[n], in h: f16[n], in m: bool[n], out y: f16[n], out z: bf16[n]) {
  for i in n {
    let t: f32[] in registers
    t[] = select(m[i], cast<f32>(x[i]), (cast<f32>(h[i]) * 3.0_f32))
    y[i] = cast<f16>((t[] + 0.5_f32))
    z[i] = cast<bf16>((t[] * t[]))
  }
}"""
GATHER = """\
kernel gather(in x: i32[6, 40], in at: i64[300], out y: i32[300, 40]) {
  for i in 300 { for j in 40 { y[i, j] = where(1 <= j < 39; x[at[i], j]; cast<i32>(index(i + j))) } }
}"""
ROWS = """\
kernel rows({m}in x: f32[{r}, {c}], out y: f32[{r}, {c}]) {{
  for r in {r} {{
    let m: f32[] in registers
    for j in {c} {{ m[] max= x[r, j] from -inf at j }}
    let e: f32[{c}] in local
    for j1 in {c} {{ e[j1] = (x[r, j1] - m[]) }}
    let s: f32[] in registers
    for j2 in {c} {{ s[] += e[j2] from 0 at j2 }}
    let i: f32[] in registers
    i[] = (1.0_f32 / s[])
    for j3 in {c} {{ y[r, j3] = (e[j3] * i[]) }}
  }}
}}"""
MATMUL = """\
kernel matmul({s}in A: {t}[{m}, {k}] strides [{a}], in B: {t}[{k}, {n}] strides [{b}], out C: {t}[{m}, {n}]) {{
  for i in {m} {{ for j in {n} {{ for k in {k} {{ C[i, j] fma= A[i, k] * B[k, j] from 0 at k }} }} }}
}}"""


LINEAR = """\
kernel linear(in A: f16[2, 34, 20], in B: f16[2, 20, 40], in bias: f32[40], out D: f16[2, 34, 40]) {
  let C: f32[2, 34, 40]
  for b in 2 { for i in 34 { for j in 40 { for k in 20 {
    C[b, i, j] fma= cast<f32>(A[b, i, k]) * cast<f32>(B[b, k, j]) from 0 at k
  } } } }
  for b2 in 2 { for i2 in 34 { for j2 in 40 {
    D[b2, i2, j2] = cast<f16>(max((C[b2, i2, j2] + bias[j2]), 0.0_f32))
  } } }
}"""
SUMS = {
    "columns": """kernel columns(in x: f32[30, 300], out y: f32[300]) {
      for j in 300 { for r in 30 { y[j] += x[r, j] from 0 at r } }
    }""",
    "whole": """kernel whole(in x: f32[130, 256], out y: f32[]) {
      for r in 130 { for j in 256 { y[] += x[r, j] from 0 at r, j } }
    }""",
    "channels": """kernel channels(in x: f32[3, 5, 7, 9], out y: f32[5]) {
      for c in 5 { for b in 3 { for h in 7 { for w in 9 { y[c] += x[b, c, h, w] from 0 at b, h, w } } } }
    }""",
    "moments": """kernel moments(in x: f32[4, 300], out m: f32[4], out v: f32[4]) {
      for r in 4 {
        for j in 300 {
          m[r] += x[r, j] from 0 at j
          v[r] += (x[r, j] * x[r, j]) from 0 at j
        }
        v[r] = (v[r] - m[r])
      }
    }""",
    "matvec": """kernel matvec(in A: f32[6, 300], in x: f32[300], out y: f32[6]) {
      for i in 6 { for k in 300 { y[i] fma= A[i, k] * x[k] from 0 at k } }
    }""",
    "conv": """kernel conv(in x: f32[3, 40], in f: f32[3, 3, 6], out y: f32[6, 40]) {
      for o in 6 { for h in 40 { for c in 3 { for p in 3 {
        y[o, h] fma= where(0 <= h + p - 1 < 40; x[c, h + p - 1]; 0.0_f32) * f[c, p, o] from 0 at c, p
      } } } }
    }""",
}


def rows(r: object, c: object, sizes: str = "") -> Kernel:
    text = ROWS.format(m="", r=r, c=c)
    return parse(text.replace("rows(", f"rows[{sizes}](") if sizes else text)


def matmul(m: object, n: object, k: object, t: str = "f32", turned: bool = False, sizes: str = ""):
    a, b = (f"1, {m}", f"1, {k}") if turned else (f"{k}, 1", f"{n}, 1")
    text = MATMUL.format(s="", t=t, m=m, n=n, k=k, a=a, b=b)
    return parse(text.replace("matmul(", f"matmul[{sizes}](") if sizes else text)


def arrays_of(kernel: Kernel, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Inputs, and outputs full of what no kernel gives."""
    rng = np.random.default_rng(1)
    out = {}
    for b in kernel.params:
        shape = [n if isinstance(n, int) else n.evaluate(sizes) for n in b.shape]
        values = rng.standard_normal(shape) if b.dtype.kind == "f" else rng.integers(0, 6, shape)
        out[b.name] = np.full(shape, 88) if b.role == "out" else np.asarray(values)
        out[b.name] = out[b.name].astype(b.dtype.numpy)
        if len(shape) == 2 and b.strides[0] == 1:
            out[b.name] = np.asfortranarray(out[b.name])
    return out


def written(naive: Kernel) -> tuple[Kernel, Emitted]:
    kernel, steps = schedule_simt(naive, SM_90)
    assert steps[0][0] != "plain", steps
    return kernel, write(kernel, SM_90)


def agrees(kernel: Kernel, emitted: Emitted, sizes: dict[str, int], seed: int) -> bool:
    """Whether the kernel gives the interpreter's bits."""
    arrays = arrays_of(kernel, sizes)
    got = emulator.run(kernel, emitted, arrays, sizes, seed)
    interpret(kernel, arrays, sizes)
    return all(arrays[b.name].tobytes() == got[b.name].tobytes() for b in kernel.params)


def check(naive: Kernel, **sizes: int) -> None:
    """The schedule keeps the meaning, and both of the emulator's schedules give the bits."""
    kernel, emitted = written(naive)
    want, got = arrays_of(naive, sizes), arrays_of(naive, sizes)
    interpret(naive, want, sizes)
    interpret(kernel, got, sizes)
    for name in want:
        near = np.allclose(want[name].astype(float), got[name].astype(float), 1e-4, 1e-4)
        assert near, name
    for seed in emulator.SEEDS:
        assert agrees(kernel, emitted, sizes, seed)


def test_elements_as_text():
    _, emitted = written(parse(RELU.format(t="f32")))
    assert (
        emitted.text
        == """\
static __device__ float gm_max_f32(float a, float b) {
  return a > b ? a : a < b ? b : a == b && a != 0 ? a : a + b;
}
extern "C" __global__ void __launch_bounds__(256) relu(
    const float* __restrict__ x,
    const float* __restrict__ low,
    float* __restrict__ y,
    long long n) {
  const long long ib = blockIdx.x;
  float s;
  s = low[0] + low[0];
  if (const int it = threadIdx.x; it < -256*ib + n) {
    float t;
    t = x[256*ib + it] * x[256*ib + it];
    y[256*ib + it] = gm_max_f32((t - x[256*ib + it]), s);
  }
}
"""
    )
    assert emitted.arguments == ("x", "low", "y", "n")
    (launch,) = emitted.launches
    assert (launch.symbol, str(launch.grid), launch.block) == ("relu", "ibn", 256)


def test_a_row_sum_as_text():
    kernel = parse("""kernel total(in x: f64[4, 20], out y: f64[4]) {
      for r in 4 { for j in 20 { y[r] += x[r, j] from 0 at j } }
    }""")
    assert (
        written(kernel)[1].text
        == """\
extern "C" __global__ void __launch_bounds__(20) total(
    const double* __restrict__ x,
    double* __restrict__ y) {
  const int r = blockIdx.x;
  __shared__ double y_j_jt_seen[20];
  double y_j;
  y_j = 0.0;
  double y_j_jt;
  {
    y_j_jt = 0.0;
  }
  { const int jt = threadIdx.x;
    y_j_jt = y_j_jt + x[jt + 20*r];
  }
  { const int y_j_jt_seen_0 = threadIdx.x;
    y_j_jt_seen[y_j_jt_seen_0] = y_j_jt;
  }
  __syncthreads();
  for (int y_j_c = 0; y_j_c < 20; y_j_c++) {
    y_j = y_j + y_j_jt_seen[y_j_c];
  }
  if (threadIdx.x == 0) y[r] = y_j;
}
"""
    )


@emulated
@pytest.mark.parametrize("t", ["f32", "f64", "i32", "i64", "i8", "u8"])
def test_elements(t):
    check(parse(RELU.format(t=t)), n=700)


@emulated
@pytest.mark.parametrize("text", [BIAS, GATHER])
def test_elements_of_several_axes(text):
    check(parse(text))


@emulated
def test_halves_and_bools_are_kept_in_memory_only():
    kernel = parse(HALF)
    assert "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n" in written(kernel)[1].text
    check(kernel, n=300)


@emulated
@pytest.mark.parametrize(("r", "c"), [(3, 700), (5, 20), (1, 40), (2, 256)])
def test_rows(r, c):
    check(rows(r, c))


@emulated
def test_rows_of_any_length():
    check(rows("m", "n", "m, n"), m=3, n=333)


@emulated
@pytest.mark.parametrize(
    ("m", "n", "k", "t", "turned"),
    [(66, 70, 20, "f32", False), (32, 64, 20, "f64", True), (9, 100, 17, "f32", True), (5, 3, 2, "i32", False)],
)  # fmt: skip
def test_contractions(m, n, k, t, turned):
    check(matmul(m, n, k, t, turned))


@emulated
def test_what_follows_a_contraction_finds_it_in_registers():
    _, emitted = written(parse(LINEAR))
    assert len(emitted.launches) == 1 and not emitted.workspace
    check(parse(LINEAR))


@emulated
@pytest.mark.parametrize("name", SUMS)
def test_sums(name):
    check(parse(SUMS[name]))


def test_a_long_sum_is_shared_out_to_blocks():
    _, emitted = written(parse(SUMS["whole"]))
    assert [(x.grid, x.block) for x in emitted.launches] == [(1, 1), (130, 256), (1, 130)]
    assert emitted.workspace == (("y_rp", 520),)


@emulated
def test_contractions_of_any_size():
    check(matmul("m", "n", "k_", sizes="m, n, k_"), m=70, n=33, k_=21)


@emulated
@pytest.mark.parametrize("naive", [rows(3, 700), matmul(66, 70, 40)], ids=["rows", "matmul"])
def test_each_barrier_is_needed(naive):
    """Take any one of them out of the text, and a schedule of the emulator gives other bits."""
    kernel, emitted = written(naive)
    parts = emitted.text.split("__syncthreads();")
    assert len(parts) > 2
    for n in range(1, len(parts)):
        text = "__syncthreads();".join(parts[:n]) + ";" + "__syncthreads();".join(parts[n:])
        broken = replace(emitted, functions=(), kernels=text)
        assert not all(agrees(kernel, broken, {}, seed) for seed in emulator.SEEDS), n


@emulated
def test_nests_that_no_block_shares_out_are_one_phase():
    kernel = parse("""kernel two(in x: f32[40], out s: f32[], out y: f32[40]) {
      for i in 40 { s[] += x[i] from 0 at i }
      for j in 40 { y[j] = (x[j] - s[]) }
    }""")
    assert len(written(kernel)[1].launches) == 1
    check(kernel)


@emulated
def test_names_of_c_are_avoided():
    check(
        parse("kernel names(in int: f32[9], out y: f32[9]) { for for in 9 { y[for] = int[for] } }")
    )


def refused(text: str, *steps: tuple) -> str:
    with pytest.raises(ScheduleError) as caught:
        write(schedule(parse(text), steps), SM_90)
    return str(caught.value)


def test_too_many_threads_are_refused():
    text = "kernel k(in x: f32[2000], out y: f32[2000]) { for i in 2000 { y[i] = x[i] } }"
    assert "a block of 2000 threads" in refused(text, ("bind", "i", "thread"))


def test_too_much_shared_memory_is_refused():
    text = """kernel k(in x: f32[20000], out y: f32[20000]) {
      let t: f32[20000] in shared
      for i in 20000 { t[i] = x[i] }
      for j in 20000 { y[j] = t[j] }
    }"""
    assert "80000 bytes of shared memory" in refused(text)


def test_registers_that_threads_share_are_refused():
    text = """kernel k(in x: f32[32], out y: f32[32]) {
      for r in 1 {
        let t: f32[32] in registers
        for i in 32 { t[i] = x[i] }
        for j in 32 { y[j] = t[31 - j] }
      }
    }"""
    steps = ("bind", "i", "thread"), ("bind", "j", "thread")
    assert "used by several threads" in refused(text, *steps)


def test_a_target_of_vectors_is_refused():
    kernel = schedule(parse(BIAS), [])
    with pytest.raises(ValueError, match=r"take codegen\.llvm\.write"):
        write(kernel, level("x86-64-v3"))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_nvcc_takes_all_texts_without_spills(tmp_path):
    """All in one text, since starting nvcc costs more than a kernel; warnings are errors."""
    naive = [parse(RELU.format(t="f32")), parse(BIAS), parse(HALF), parse(GATHER), rows(3, 700),
             *map(parse, SUMS.values()), parse(LINEAR),
             matmul("m", "n", "k_", sizes="m, n, k_")]  # fmt: skip
    every = [written(kernel)[1] for kernel in naive]
    functions = dict.fromkeys(f for emitted in every for f in emitted.functions)
    text = "\n".join([*functions, *(emitted.kernels for emitted in every)])
    source = tmp_path / "all.cu"
    source.write_text(text)
    command = ["nvcc", "-cubin", "-arch=sm_90", "-std=c++17", "-fmad=false", "-Xptxas=-v,--warn-on-spills",
               "-Werror=all-warnings", "-o", str(tmp_path / "all.cubin"), str(source)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    launches = sum(len(emitted.launches) for emitted in every)
    assert done.stderr.count(" 0 bytes spill stores") == launches
