"""Naive nests: golden texts of each kind, and random graphs run by the loop interpreter against the ops' references."""

import numpy as np
import pytest
from random_graphs import random_arrays, random_graph, random_sizes

from gristmill.codegen.executable import compile_graph
from gristmill.ir.graph import Graph
from gristmill.ir.interpret import interpret
from gristmill.ir.parse import parse_graph as parse
from gristmill.passes.fuse import fuse
from gristmill.passes.lower import lower


def nests(text: str) -> list[str]:
    fused = fuse(parse(text))
    return [str(lower(t, fused.places).kernel) for t in fused.tasks]


def test_equal_layouts_are_one_loop_of_a_free_size() -> None:
    (nest,) = nests("""graph f(%x: f32[4, 6], %y: f32[4, 6]) {
      %0: f32[4, 6] = add(%x, %y)
      %1: f32[4, 6] = mul(%0, %0)
      return %1
    }""")
    assert (
        nest
        == """\
kernel map[count](in a0: f32[count], in a1: f32[count], out a2: f32[count]) {
  for i0 in count {
    let t0: f32[] in registers
    t0[] = (a0[i0] + a1[i0])
    let t1: f32[] in registers
    t1[] = (t0[] * t0[])
    a2[i0] = t1[]
  }
}"""
    )


def test_half_floats_round_at_each_op() -> None:
    (nest,) = nests("""graph f(%x: f16[4]) {
      %0: f16[4] = exp(%x)
      return %0
    }""")
    assert "cast<f16>(exp(cast<f32>(a0[i0])))" in nest


def test_a_row_kernel_has_a_loop_for_each_reduction() -> None:
    (nest,) = nests("""graph f(%x: f32[2, 3, 5]) {
      %0: f32[2, 3] = amax(%x) axes=(2,)
      %1: f32[2, 3, 1] = reshape(%0) shape=(2, 3, 1)
      %2: f32[2, 3, 5] = broadcast(%1) shape=(2, 3, 5)
      %3: f32[2, 3, 5] = sub(%x, %2)
      return %3
    }""")
    assert (
        nest
        == """\
kernel rows(in a0: f32[6, 5], out a1: f32[6, 5]) {
  for i0 in 6 {
    let m0: f32[] in registers
    for j0 in 5 {
      m0[] max= a0[i0, j0] from -inf at j0
    }
    for j1 in 5 {
      a1[i0, j1] = (a0[i0, j1] - m0[])
    }
  }
}"""
    )


def test_a_transposed_operand_is_strides() -> None:
    (nest,) = nests("""graph f(%x: f32[4, 6], %w: f32[4, 5]) {
      %0: f32[6, 4] = permute(%x) order=(1, 0)
      %1: f32[6, 5] = contract(%0, %w) spec="bi,io->bo"
      return %1
    }""")
    assert (
        nest
        == """\
kernel contract(in a0: f32[6, 4] strides [1, 6], in a1: f32[4, 5], out a2: f32[6, 5]) {
  for i0 in 6 {
    for j0 in 5 {
      for k0 in 4 {
        a2[i0, j0] fma= a0[i0, k0] * a1[k0, j0] from 0.0 at k0
      }
    }
  }
}"""
    )


def test_argmax_takes_the_first_nan() -> None:
    graph = parse("graph f(%x: f32[2, 3]) {\n%0: i64[2] = argmax(%x) axis=1\nreturn %0\n}")
    x = np.array([[1, np.nan, np.nan], [2, 5, 5]], np.float32)
    (out,) = compile_graph(graph, options={"interpret": True})([x])
    assert out.tolist() == [1, 1]


def run_both(graph: Graph, seed: int, options: dict[str, bool]) -> None:
    sizes = random_sizes(graph, seed)
    arrays = [np.array(a) for a in random_arrays(graph, seed, sizes)]
    outputs, written = interpret(graph, arrays, sizes)
    changed = [a.copy() for a in arrays]
    found = compile_graph(graph, options=options)(changed)
    found += [changed[graph.inputs.index(x)] for x, _ in graph.writes]
    for a, b in zip(found, [*outputs, *written], strict=True):
        assert_close(a, np.asarray(b))


def assert_close(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    if a.dtype.kind in "biu":
        assert (a == b).all()
        return
    eps = {2: 0.02, 4: 1e-4, 8: 1e-6}[a.real.dtype.itemsize]
    x, y = a.astype(np.complex128), b.astype(np.complex128)
    with np.errstate(all="ignore"):
        near = (x == y) | (np.isnan(x) & np.isnan(y)) | (abs(x - y) <= eps * (1 + abs(y)))
    assert near.all(), (a[~near], b[~near])


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("merge", [False, True], ids=["apart", "fused"])
@pytest.mark.parametrize("first", range(0, 24, 4))
def test_random_graphs_as_nests(first: int, merge: bool, symbolic: bool) -> None:
    for seed in range(first, first + 4):
        run_both(random_graph(seed, symbolic=symbolic), seed, {"interpret": True, "fuse": merge})


def test_a_value_is_read_before_it_is_overwritten() -> None:
    graph = parse("""graph f(%x: f32[] state) {
      %0: f32[] = neg(%x)
      %1: f32[] = exp(%x)
      return %1; write %x = %0
    }""")
    x = np.zeros((), np.float32)
    (out,) = compile_graph(graph, options={"interpret": True})([x])
    assert (out, x) == (1, 0)
    (out,) = compile_graph(graph)([np.full((), np.log(2), np.float32)])
    assert out == pytest.approx(2)
