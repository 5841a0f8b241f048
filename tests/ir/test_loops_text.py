"""The loop language as text: print, parse back, and what verify refuses."""

import pytest

from gristmill.ir.errors import GraphError, ScheduleError
from gristmill.ir.loops import parse, verify

TEXTS = [
    """\
kernel matmul[m](in A: f32[m, 5], in B: f32[5, 4] strides [1, 5], out C: f32[m, 4]) {
  size q = m // 6
  size r = (m - 6*q) // 2
  for i in m {
    for j in 4 {
      for k in 5 {
        C[i, j] fma= A[i, k] * B[k, j] from 0.0 at k  # net.py:3  x @ w
      }
    }
  }
}""",
    """\
kernel rows(in x: f32[3, 20], in ids: i64[3], out y: f16[3, 20], inout s: i32[]) {
  parallel r in 3 {
    let m: f32[] in registers
    m[] = -inf_f32
    for j0 in 2 {
      vector j in min(16, -16*j0 + 20) of 16 {
        m[] maxnum= x[r, j + 16*j0]
      }
    }
    unrolled j in 20 {
      y[r, j] = cast<f16>(select(lt(m[], 0.5_f32), exp((x[ids[r], j] - m[])), 1e-05_f32)) nontemporal
    }
    prefetch y[r, 0]
    barrier
    s[] += bitcast<i32>(where(0 <= r - 1 < 2, 0 <= r < 3; (x[r - 1, 0] / -2.0_f32); inf_f32))
    s[] += cast<i32>(xor(index(4*r + 1), -1_i64)) from 0
  }
}""",
    """\
kernel flags(in a: bool[n], in at: i32[n], out b: bool[2*n + 1]) {
  for i in n {
    b[add(at[i], 1_i32)] = or(a[i], true)
  }
}""".replace("flags(", "flags[n]("),
]


@pytest.mark.parametrize("text", TEXTS, ids=["matmul", "rows", "flags"])
def test_text_reads_back(text: str) -> None:
    text = text.replace("add(at[i], 1_i32)", "(at[i] + 1_i32)")
    kernel = parse(text)
    assert str(kernel) == text
    assert parse(str(kernel)) == kernel


def test_source_lines_are_no_part_of_equality() -> None:
    text = "kernel k(out y: f32[2]) {\n  for i in 2 {\n    y[i] = 1.0_f32\n  }\n}"
    assert parse(text) == parse(text.replace("_f32\n", "_f32  # a.py:1\n"))


def test_a_bad_line_is_named() -> None:
    with pytest.raises(GraphError, match=r"(?s)no intrinsic is called 'sine'.*line 3: y\[i\]"):
        parse("kernel k(out y: f32[2]) {\n  for i in 2 {\n    y[i] = sine(1.0_f32)\n  }\n}")


def refuse(body: str, words: str, error: type[Exception], params: str = "") -> None:
    text = f"kernel k[n](in x: f32[n, 8], out y: f32[n, 8]{params}) {{\n{body}\n}}"
    with pytest.raises(error, match=words):
        verify(parse(text))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("for i in n { x[i, 0] = 1.0_f32 }", "role is 'in'"),
        ("for i in n { y[i, 0] = x[j, 0] }", "depends on 'j'"),
        ("for i in n { y[i] = 1.0_f32 }", "has 2 dims"),
        ("for i in n { for i in 8 { y[i, i] = 1.0_f32 } }", "of that name"),
        ("for i in n { y[i, 0] = cast<f64>(x[i, 0]) }", "value stored is f64"),
        ("for i in n { y[i, x[i, 0]] = x[i, 0] }", "not an integer"),
    ],
)
def test_verify_refuses_nests_without_meaning(body: str, words: str) -> None:
    refuse(body, words, GraphError)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("vector i in 8 { vector j in 8 { y[i, j] = 1.0_f32 } }", "inside a vector loop"),
        ("for i in n { parallel j in 8 { y[i, j] = 1.0_f32 } }", "not outermost"),
        ("unrolled i in n { y[i, 0] = 1.0_f32 }", "not a number"),
        ("for i in n { y[i, 0] += x[i, 0] from 0 at i }", "restart"),
        ("for i in n { vector j in 8 { y[i, 0] = x[i, j] } }", "store to one element"),
        (
            "let t: f32[8] in registers for i in 8 { t[i] = 1.0_f32 y[0, i] = t[i] }",
            "moves with for loop 'i'",
        ),
        ("for i in n { unrolled j in min(8, i) { y[i, j] = 1.0_f32 } }", "only when it runs"),
    ],
)
def test_verify_refuses_what_no_writer_spells(body: str, words: str) -> None:
    refuse(body, words, ScheduleError)
