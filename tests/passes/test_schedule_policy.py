"""Policies on kernels of every class: same meaning, the intended schedule, no silent fallback."""

import numpy as np
import pytest

from gristmill.ir.loops import Kernel, interpret, parse
from gristmill.ir.target import Target
from gristmill.passes.schedule.policy import classify, schedule_kernel
from gristmill.passes.schedule.schedule import schedule, steps_text

WIDE = Target("x86-64-v4", "", "", "vector", 512, 32, True, 2, 49152, 1 << 20, 1 << 25)
NARROW = Target("x86-64-v3", "", "", "vector", 256, 16, True, 2, 49152, 1 << 20, 1 << 25)


def contraction(
    m: object, n: object, k: object, ta: bool = False, tb: bool = False, dtype: str = "f32"
) -> Kernel:
    free = [str(s) for s in (m, n, k) if isinstance(s, str)]
    a = f"strides [1, {m}]" if ta else ""
    b = f"strides [1, {k}]" if tb else ""
    return parse(f"""
kernel matmul[{", ".join(free)}](in A: {dtype}[{m}, {k}] {a}, in B: {dtype}[{k}, {n}] {b}, out C: {dtype}[{m}, {n}]) {{
  for i in {m} {{ for j in {n} {{ for k in {k} {{ C[i, j] fma= A[i, k] * B[k, j] from 0 at k }} }} }}
}}""")


def linear(m: object, n: object, k: object, tb: bool = False) -> Kernel:
    free = [str(s) for s in (m, n, k) if isinstance(s, str)]
    b = f"strides [1, {k}]" if tb else ""
    return parse(f"""
kernel linear[{", ".join(free)}](in A: f32[{m}, {k}], in B: f32[{k}, {n}] {b}, in c: f32[{n}], out D: f32[{m}, {n}]) {{
  let C: f32[{m}, {n}]
  for i in {m} {{ for j in {n} {{ for k in {k} {{ C[i, j] fma= A[i, k] * B[k, j] from 0 at k }} }} }}
  for i1 in {m} {{ for j1 in {n} {{ D[i1, j1] = max((C[i1, j1] + c[j1]), 0.0_f32) }} }}
}}""")


def product(a: str, b: str, c: str, **extents: int) -> Kernel:
    """Each operand is indexed by the axes whose extents its shape has."""

    def place(text: str) -> str:
        name, shape = text.split(": ")
        numbers = [int(n) for n in shape.split("[")[1].strip("]").split(",") if n]
        at = ", ".join(next(x for x, n in extents.items() if n == m) for m in numbers)
        return f"cast<f32>({name}[{at}])" if "f16" in shape else f"{name}[{at}]"

    inside = [x for x in extents if x not in place(c).split("[")[1]]
    start = f"from 0 at {', '.join(inside)}" if inside else "from 0"
    head = " ".join(f"for {x} in {n} {{" for x, n in extents.items())
    return parse(
        f"kernel product(in {a}, in {b}, out {c}) {{ {head} {place(c)} fma= {place(a)} * {place(b)} "
        f"{start} {'}' * len(extents)} }}"
    )


SOFTMAX = """
kernel softmax[{free}](in x: f32[{m}, {n}], out y: f32[{m}, {n}]) {{
  for r in {m} {{
    let m: f32[] in registers
    for j0 in {n} {{ m[] max= x[r, j0] from 0 at j0 }}
    let e: f32[{n}] in local
    for j1 in {n} {{ e[j1] = exp((x[r, j1] - m[])) }}
    let s: f32[] in registers
    for j2 in {n} {{ s[] += e[j2] from 0 at j2 }}
    let i: f32[] in registers
    i[] = (1.0_f32 / s[])
    for j3 in {n} {{ y[r, j3] = (e[j3] * i[]) }}
  }}
}}"""
CHAIN = """
kernel chain[{free}](in x: f32[{n}], in y: f32[{n}], out o: f32[{n}]) {{
  for i in {n} {{
    let t: f32[] in registers
    t[] = exp((x[i] * y[i]))
    o[i] = (t[] / (t[] + 1.0_f32))
  }}
}}"""
FULL = "kernel full(in x: f32[{n}], out o: f32[]) {{ for i in {n} {{ o[] += x[i] from 0 at i }} }}"
BATCH = """
kernel batch(in A: f32[3, 9, 5], in B: f32[3, {shape}], out C: f32[3, 9, 20]) {{
  for b in 3 {{ for i in 9 {{ for j in 20 {{ for k in 5 {{
    C[b, i, j] fma= A[b, i, k] * B[b, {at}] from 0 at k
  }} }} }} }}
}}"""


def along(axis: int, m: int, n: int) -> Kernel:
    j, r, (kept, gone) = ("j", "r", (n, m)) if axis == 0 else ("r", "j", (m, n))
    return parse(
        f"kernel total(in x: f32[{m}, {n}], out o: f32[{kept}]) "
        f"{{ for {j} in {kept} {{ for {r} in {gone} {{ o[{j}] += x[r, j] from 0 at {r} }} }} }}"
    )


SQUARES = """
kernel squares(in x: f32[19, 70], in m: f32[70], out o: f32[70]) {
  for j in 70 { for r in 19 {
    let t: f32[] in registers
    t[] = (x[r, j] - m[j])
    o[j] += (t[] * t[]) from 0.0 at r
  } }
}"""

CASES = {
    "small": contraction(7, 20, 5),
    "one": contraction(1, 1, 1),
    "odd": contraction(13, 67, 9),
    "turned-a": contraction(13, 17, 5, ta=True),
    "turned-b": contraction(13, 67, 19, tb=True),
    "turned-both": contraction(8, 33, 16, ta=True, tb=True),
    "row": contraction(1, 70, 9),
    "row-turned": contraction(1, 30, 20, tb=True),
    "column": contraction(9, 1, 70),
    "f64": contraction(13, 17, 5, dtype="f64"),
    "f64-turned": contraction(13, 17, 9, tb=True, dtype="f64"),
    "i32": contraction(13, 17, 5, dtype="i32"),
    "open-m": contraction("M", 20, 7),
    "open-k": contraction(7, 20, "K", ta=True),
    "open-n": contraction(7, "N", 3),
    "open-all": contraction("M", "N", "K"),
    "linear": linear(13, 70, 5),
    "linear-turned": linear(13, 70, 5, tb=True),
    "linear-open": linear("M", 10, 9),
    "batch": parse(BATCH.format(shape="5, 20", at="k, j")),
    "batch-turned": parse(BATCH.format(shape="20, 5", at="j, k")),
    "vector-matrix": product("A: f32[9]", "B: f32[9, 70]", "C: f32[70]", j=70, k=9),
    "matrix-vector": product("A: f32[13, 70]", "B: f32[70]", "C: f32[13]", i=13, k=70),
    "turned-matrix-vector": product("A: f32[9, 40]", "B: f32[9]", "C: f32[40]", i=40, k=9),
    "dot": product("A: f32[131]", "B: f32[131]", "C: f32[]", k=131),
    "outer": product("A: f32[7]", "B: f32[33]", "C: f32[7, 33]", i=7, j=33),
    "half": product("A: f16[7, 9]", "B: f16[9, 33]", "C: f32[7, 33]", i=7, j=33, k=9),
    "results-turned": product("A: f32[13, 7]", "B: f32[7, 20]", "C: f32[20, 13]", i=13, j=20, k=7),
    "two-sums": product(
        "A: f32[9, 4, 3]", "B: f32[20, 4, 3]", "C: f32[9, 20]", i=9, j=20, k=4, l=3
    ),
    "softmax": parse(SOFTMAX.format(free="", m=3, n=100)),
    "softmax-1": parse(SOFTMAX.format(free="", m=3, n=1)),
    "softmax-open": parse(SOFTMAX.format(free="M, N", m="M", n="N")),
    "chain": parse(CHAIN.format(free="", n=1009)),
    "chain-open": parse(CHAIN.format(free="N", n="N")),
    "full": parse(FULL.format(n=20000)),
    "full-small": parse(FULL.format(n=37)),
    "columns": along(0, 19, 70),
    "columns-of-squares": parse(SQUARES),
    "rows": along(1, 5, 131),
}
OPEN = {"M": 17, "N": 45, "K": 6}


def arrays(kernel: Kernel) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    out = {}
    for b in kernel.params:
        shape = [n if isinstance(n, int) else n.evaluate(OPEN) for n in b.shape]
        out[b.name] = np.array(rng.standard_normal(shape) * 3).astype(b.dtype.numpy)
    return out


@pytest.mark.parametrize("target", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", CASES)
def test_policies_keep_the_meaning(name: str, target: Target) -> None:
    naive = CASES[name]
    done, steps = schedule_kernel(naive, target)
    assert not any(step[0] == "plain" for step in steps), steps
    assert str(parse(str(done))) == str(done)
    assert schedule(naive, steps) == done
    want, got = arrays(naive), arrays(naive)
    interpret(naive, want, OPEN)
    interpret(done, got, OPEN)
    for b in naive.params:
        np.testing.assert_allclose(got[b.name], want[b.name], rtol=1e-4, atol=1e-4)


def test_kernels_are_told_apart_by_structure() -> None:
    found = {name: classify(kernel) for name, kernel in CASES.items()}
    assert found["linear"] == found["batch"] == "contraction"
    assert found["softmax"] == found["rows"] == "rows"
    assert (found["chain"], found["full"], found["columns"]) == ("elementwise", "rows", "columns")


def test_the_schedule_of_a_large_product() -> None:
    _, steps = schedule_kernel(contraction(1024, 1024, 1024), WIDE)
    assert steps_text(steps) == (
        "reorder(j, i, k); split(j, 64, jo, jr, cut); split(jr, 16, ju, jv, clamp); "
        "split(i, 6, io, iu); split(io, 17, ic, io, clamp); reorder(ic, jo, io, k, iu, ju, jv); "
        "accumulate(C, k); stage(B, None, (1, 0, 1), local, 0, Bp, 64); "
        "split(Bp_1, 16, Bp_1j, Bp_1v, clamp); vectorize(Bp_1v, 16); parallel(Bp_1o); "
        "stage(A, ic, (0, 1), local, 16, Ap); split(Ap_1, 16, Ap_1k, Ap_1v, clamp); "
        "vectorize(Ap_1v, 16); vectorize(jv, 16); unroll(ju); unroll(iu); parallel(ic)"
    )


def test_a_refused_policy_says_so() -> None:
    naive = parse(
        "kernel far[K](in A: f32[4, K] strides [2*K, 2], in B: f32[K, 5] strides [2, 2*K], "
        "out C: f32[4, 5]) { for i in 4 { for j in 5 { for k in K "
        "{ C[i, j] fma= A[i, k] * B[k, j] from 0 at k } } } }"
    )
    _, steps = schedule_kernel(naive, WIDE)
    assert steps[0] == ("plain", "packing needs one sum and sizes that are numbers")


def test_bits_do_not_depend_on_the_number_of_cores() -> None:
    many = Target("x86-64-v4", "", "", "vector", 512, 32, True, 64, 49152, 1 << 20, 1 << 25)
    for kernel in CASES.values():
        assert schedule_kernel(kernel, WIDE)[0] == schedule_kernel(kernel, many)[0]
