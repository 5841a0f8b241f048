"""What the LLVM writer makes of small nests, against the loop interpreter."""

import numpy as np
import pytest
from compiled_nests import run_text as run

from gristmill.codegen.detect import host, level
from gristmill.codegen.llvm.write import write
from gristmill.ir.errors import GraphError, ScheduleError
from gristmill.ir.loops import interpret, parse, verify


def check(text: str, arrays: dict, sizes: dict | None = None, **rest) -> None:
    want = {n: a.copy() for n, a in arrays.items()}
    interpret(parse(text), want, sizes)
    got = run(text, arrays, sizes, **rest)
    for n, a in want.items():
        np.testing.assert_array_equal(got[n], a, err_msg=n)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(-9, 9, shape).astype(np.float32)


def test_a_register_inside_a_vector_loop_is_one_per_lane():
    check(
        """kernel f(in x: f32[3, 16], out y: f32[16]) {
  vector i in 16 {
    let t: f32[] in registers
    t[] = 0.0_f32
    unrolled k in 3 { t[] += x[k, i] }
    y[i] = t[]
  }
}""",
        {"x": floats(3, 16), "y": floats(16)},
    )


def test_a_branch_not_taken_may_load_a_register_that_nobody_wrote():
    check(
        """kernel f(in x: f32[8], out y: f32[8]) {
  let t: f32[] in registers
  for i in 8 {
    y[i] = where(1 <= i < 8; t[]; 0.0_f32)
    t[] = x[i]
  }
}""",
        {"x": floats(8), "y": floats(8)},
    )


def test_a_lane_not_taken_may_load_a_register_that_nobody_wrote():
    check(
        """kernel f(in x: f32[16], out y: f32[4, 16]) {
  let t: f32[16] in registers
  for i in 4 {
    vector j in 16 { y[i, j] = where(1 <= i < 8; t[j]; 0.0_f32) }
    vector j1 in 16 { t[j1] = (x[j1] + 1.0_f32) }
  }
}""",
        {"x": floats(16), "y": floats(4, 16)},
    )


@pytest.mark.parametrize("axis", ["v3", "lo", "hi", "entry", "args", "v1L", "x"])
def test_axes_may_have_any_name(axis):
    text = """kernel f[n](in x: f32[n, 40], out y: f32[n, 40]) {
  parallel A in n {
    for B in 5 { outlined v9 in 8 { y[A, 8*B + v9] = (x[A, 8*B + v9] * 2.0_f32) } }
  }
}"""
    for name in ("A", "B"):
        check(
            text.replace(name, axis).replace("A", "a").replace("B", "b"),
            {"x": floats(3, 40), "y": floats(3, 40)},
            {"n": 3},
        )


def test_sizes_and_buffers_may_share_names_with_axes():
    check(
        """kernel f[lo](in v1: f32[lo], out v2: f32[lo]) {
  for v3 in lo { outlined i in 1 { v2[i + v3] = v1[i + v3] } }
}""",
        {"v1": floats(7), "v2": floats(7)},
        {"lo": 7},
    )


def test_a_register_written_in_a_loop_that_may_not_run():
    text = """kernel f[n](in x: f32[n], out y: f32[1]) {
  size q = n // 4
  let t: f32[] in registers
  t[] = 5.0_f32
  for i in q { t[] = x[i] }
  y[0] = t[]
}"""
    for n in (2, 9):
        check(text, {"x": floats(n), "y": floats(1)}, {"n": n})


def test_a_register_first_written_in_a_loop():
    check(
        """kernel f[n](in x: f32[n], out y: f32[1]) {
  let t: f32[] in registers
  for i in n { t[] = x[i] }
  y[0] = t[]
}""",
        {"x": floats(5), "y": floats(1)},
        {"n": 5},
    )


def test_registers_of_several_dtypes_in_one_vector_loop():
    rng = np.random.default_rng(0)
    check(
        """kernel f(in x: f64[16], in a: i8[16], in h: f16[16], out y: f64[16], out z: i8[16], out k: bf16[16]) {
  vector i in 16 of 16 {
    let t: f64[] in registers
    t[] = (x[i] * 2.0_f64)
    let u: i8[] in registers
    u[] = (a[i] + 3_i8)
    let b: bool[] in registers
    b[] = lt(t[], cast<f64>(u[]))
    y[i] = select(b[], t[], cast<f64>(h[i]))
    z[i] = select(b[], u[], -1_i8)
    k[i] = where(3 <= i < 9; cast<bf16>(t[]); 1.5_bf16)
  }
}""",
        {
            "x": rng.standard_normal(16),
            "a": rng.integers(-9, 9, 16).astype(np.int8),
            "h": rng.standard_normal(16).astype(np.float16),
            "y": np.zeros(16),
            "z": np.zeros(16, np.int8),
            "k": floats(16).astype(parse("kernel f(in x: bf16[1]) {\n}").params[0].dtype.numpy),
        },
    )


def test_of_lanes_that_store_to_one_place_the_last_wins():
    check(
        """kernel f(in x: f32[13], in at: i64[13], out y: f32[5]) {
  vector i in 13 of 16 { y[at[i]] = x[i] }
}""",
        {"x": floats(13), "at": np.arange(13) % 5, "y": floats(5)},
    )


def test_lanes_that_add_to_one_place_add_one_after_another():
    check(
        """kernel f[n](in x: f32[n], in at: i64[n], inout y: f32[5]) {
  size q = (n + 15) // 16
  for i in q { vector j in min(16, n - 16*i) of 16 { y[at[16*i + j]] += x[16*i + j] } }
}""",
        {"x": floats(23), "at": np.arange(23) * 7 % 5, "y": floats(5)},
        {"n": 23},
    )


def test_a_gather_whose_index_is_equal_in_all_lanes():
    check(
        """kernel f(in x: f32[9, 16], in at: i64[1], out y: f32[16], out z: f32[16]) {
  vector i in 16 {
    y[i] = x[at[0], i]
    z[i] = x[at[0], 2]
  }
}""",
        {"x": floats(9, 16), "at": np.array([4]), "y": floats(16), "z": floats(16)},
    )


@pytest.mark.parametrize("dtype", ["f32", "f64", "u8"])
@pytest.mark.parametrize("offset", [0, 8, 24])
def test_nontemporal_stores_need_no_alignment(dtype, offset):
    text = f"""kernel f(in x: {dtype}[64], out y: {dtype}[64]) {{
  for i in 4 {{ vector j in 16 {{ y[16*i + j] = (x[16*i + j] + x[j]) nontemporal }} }}
}}"""
    kind = parse(text).params[0].dtype.numpy
    for name in ("x86-64", host().name):
        target = host() if name == host().name else level(name)
        check(text, {"x": floats(64).astype(kind), "y": floats(64).astype(kind)},
              target=target, offset=offset)  # fmt: skip


def test_a_large_local_does_not_lie_on_the_stack():
    n = 700_000
    text = f"""kernel f(in x: f32[2], out y: f32[2]) {{
  parallel i in 2 {{
    let big: f32[{n}] in local
    big[0] = x[i]
    big[{n - 1}] = (x[i] + 1.0_f32)
    y[i] = (big[0] * big[{n - 1}])
  }}
}}"""
    assert "alloca" not in write(parse(text), host()).text
    check(text, {"x": floats(2), "y": floats(2)})


def test_a_local_whose_size_is_known_when_it_runs():
    text = """kernel f[n](in x: f32[n], out y: f32[n]) {
  size q = n // 2
  for i in q {
    let t: f32[n, 3] in local
    for j in n { t[j, 2] = x[j] }
    y[i] = t[i, 2]
  }
  for k in n - q {
    let t: f32[q] in local
    t[0] = x[k + q]
    y[k + q] = t[0]
  }
}"""
    for n in (2, 900):
        check(text, {"x": floats(n), "y": floats(n)}, {"n": n}, ready=False)


def test_what_lies_outside_is_not_loaded_for_lanes_that_are_off():
    """The row is chosen by the loop around, its element is the same in all lanes."""
    far = 1 << 40
    check(
        f"""kernel f(in x: f32[3], out y: f32[4, 16]) {{
  for i in 4 {{
    vector j in 16 {{
      y[i, j] = where(2 <= i < 3, 0 <= j < 9; x[{far}*i - {2 * far}]; 7.0_f32)
    }}
  }}
}}""",
        {"x": floats(3), "y": floats(4, 16)},
    )


def test_a_tile_may_be_written_by_number_and_read_by_lane():
    check(
        """kernel f(in x: f32[16], out y: f32[16], out z: f32[4]) {
  let t: f32[16] in registers
  unrolled i in 16 { t[i] = x[15 - i] }
  vector j in 16 { y[j] = t[j] }
  vector k in 16 { t[k] = (t[k] * 2.0_f32) }
  t[2] = 9.0_f32
  unrolled m in 4 { z[m] = t[m] }
}""".replace("15 - i", "-i + 15"),
        {"x": floats(16), "y": floats(16), "z": floats(4)},
    )


def test_constants_of_halves():
    check(
        """kernel f(in x: f16[16], out y: f16[16], out z: bf16[3]) {
  vector i in 16 { y[i] = where(2 <= i < 5; x[i]; 1.5_f16) }
  for k in 3 { z[k] = -0.25_bf16 }
}""",
        {
            "x": floats(16).astype(np.float16),
            "y": floats(16).astype(np.float16),
            "z": np.zeros(3, parse("kernel f(in x: bf16[1]) {\n}").params[0].dtype.numpy),
        },
    )


@pytest.mark.parametrize("wide, narrow", [("i64", "i8"), ("i64", "i32"), ("i32", "i16"), ("f32", "bf16")])
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_a_single_lane_stores_no_more_than_its_element(wide, narrow, lanes):
    """LLVM 22 stores a narrowed value in its wide type where a constant mask has one lane on."""
    kinds = [parse(f"kernel f(in x: {d}[1]) {{\n}}").params[0].dtype.numpy for d in (wide, narrow)]
    check(
        f"""kernel f(in x: {wide}[16], out y: {narrow}[16]) {{
  vector i in 1 of {lanes} {{ y[i] = cast<{narrow}>(x[i]) }}
}}""",
        {"x": np.arange(2, 18).astype(kinds[0]), "y": np.ones(16, kinds[1])},
    )


@pytest.mark.parametrize("lanes, on", [(3, 3), (6, 6), (6, 5), (7, 7)])
def test_lanes_that_are_no_power_of_two_are_all_summed(lanes, on):
    check(
        f"""kernel f(in x: f32[8], inout y: f32[1], inout z: f32[1]) {{
  vector i in {on} of {lanes} {{
    y[0] += x[i]
    z[0] min= x[i]
  }}
}}""",
        {"x": np.arange(8, 0, -1).astype(np.float32), "y": floats(1), "z": np.array([99], np.float32)},
    )


def test_nontemporal_stores_of_three_lanes():
    check(
        """kernel f(in x: f32[8], out y: f32[8]) {
  vector i in 3 { y[i] = x[i] nontemporal }
}""",
        {"x": floats(8), "y": floats(8)},
    )


@pytest.mark.parametrize("wrote, read", [(4, 16), (16, 4), (8, 4), (3, 16)])
def test_a_tile_may_be_read_by_other_widths(wrote, read):
    first, last = 16 // wrote * wrote, 16 // read
    check(
        f"""kernel f(in x: f32[16], out y: f32[16]) {{
  let t: f32[16] in registers
  unrolled m in 16 {{ t[m] = 7.0_f32 }}
  unrolled u in {first // wrote} {{ vector v in {wrote} {{ t[{wrote}*u + v] = x[{wrote}*u + v] }} }}
  unrolled w in {last} {{ vector j in {read} {{ y[{read}*w + j] = t[{read}*w + j] }} }}
}}""",
        {"x": floats(16), "y": floats(16)},
    )


def test_lanes_that_begin_elsewhere_overlap():
    check(
        """kernel f(in x: f32[16], out y: f32[16]) {
  let t: f32[16] in registers
  unrolled u in 2 { vector v in 8 { t[8*u + v] = x[8*u + v] } }
  vector w in 8 { t[w + 3] = (t[w + 4] + 1.0_f32) }
  unrolled a in 2 { vector b in 8 { y[8*a + b] = t[8*a + b] } }
}""",
        {"x": floats(16), "y": floats(16)},
    )


@pytest.mark.parametrize("n", [2, 9])
def test_a_tile_set_by_number_and_summed_by_lane_in_a_loop(n):
    """The loop may also not run: then the numbers are what it leaves."""
    check(
        """kernel f[n](in x: f32[n, 8], out y: f32[8]) {
  size q = n // 3
  let t: f32[8] in registers
  unrolled i in 8 { t[i] = 1.0_f32 }
  for k in q { vector j in 8 { t[j] += x[k, j] } }
  unrolled m in 8 { y[m] = t[m] }
}""",
        {"x": floats(n, 8), "y": floats(8)},
        {"n": n},
    )


def test_a_tile_turned_in_a_loop_is_turned_again_after_it():
    check(
        """kernel f[n](in x: f32[4, 4], out y: f32[n, 4, 4], out z: f32[4, 4]) {
  let t: f32[4, 4] in registers
  unrolled i in 4 { vector j in 4 { t[i, j] = x[i, j] } }
  for k in n { unrolled a in 4 { vector b in 4 { y[k, b, a] = t[b, a] } } }
  unrolled c in 4 { vector d in 4 { z[d, c] = t[d, c] } }
}""",
        {"x": floats(4, 4), "y": floats(3, 4, 4), "z": floats(4, 4)},
        {"n": 3},
    )


@pytest.mark.parametrize("n", [2, 5])
def test_a_register_keeps_its_value_where_no_lane_is_on(n):
    check(
        """kernel f[n](in x: f32[n], out y: f32[1]) {
  let t: f32[] in registers
  t[] = 3.0_f32
  vector i in min(4, n - 3) of 4 { t[] = x[0] }
  y[0] = t[]
}""",
        {"x": floats(n), "y": floats(1)},
        {"n": n},
    )


def test_sizes_below_zero_are_rounded_down():
    for n in (1, 4, 9):
        check(
            """kernel f[n](in x: f32[n], out y: f32[n]) {
  size q = (n - 4) // 3
  for i in q { y[i] = x[i] }
  y[0] = cast<f32>(index(q))
}""",
            {"x": floats(n), "y": floats(n)},
            {"n": n},
        )


@pytest.mark.parametrize(
    "body, what",
    [
        ("for i in 8 { h[0] += x[i] }", "'h' is reduced in f16"),
        ("vector i in 4 { y[i] = z[i*i] }", "is not linear in vector loop 'i'"),
        ("let t: f32[4, 4] in registers\n vector i in 4 { y[i] = t[i, i] }", "along several dimensions"),
    ],
)
def test_what_has_no_spelling_is_refused(body, what):
    head = "in x: f16[8], in z: f32[16], out y: f32[4], inout h: f16[1]"
    with pytest.raises((GraphError, ScheduleError), match=what):
        verify(parse(f"kernel f({head}) {{\n {body}\n}}"))
