"""Which ops become one kernel, and where values lie: short golden texts."""

from collections.abc import Callable

from gristmill.ir import ops
from gristmill.ir.graph import Builder, Graph, Value, building
from gristmill.ir.parse import parse_graph as parse
from gristmill.passes.fuse import fuse


def kernels(graph: Graph, merge: bool = True) -> list[str]:
    tasks = fuse(graph, merge=merge).tasks
    return [f"{t.kind}: {' '.join(n.op.name for n in t.group.nodes)}".rstrip(": ") for t in tasks]


def made(build: Callable[[Builder], Graph]) -> Graph:
    b = Builder("f")
    with building(b):
        return build(b)


def softmax(x: Value) -> Value:
    def along(v: Value) -> Value:
        return ops.broadcast(ops.reshape(v, shape=(x.shape[0], 1)), shape=x.shape)

    e = ops.exp(x - along(ops.amax(x, axes=(1,))))
    return e / along(ops.sum_(e, axes=(1,)))


def test_a_chain_is_one_kernel_and_views_are_none() -> None:
    graph = parse("""graph f(%x: f32[4, 6], %y: f32[6, 4]) {
      %0: f32[4, 6] = exp(%x)
      %1: f32[4, 6] = permute(%y) order=(1, 0)
      %2: f32[4, 6] = add(%0, %1)
      %3: f32[4, 6, 1] = reshape(%2) shape=(4, 6, 1)
      %4: f32[4, 6, 1] = neg(%3)
      return %4
    }""")
    assert kernels(graph) == ["map: exp add neg"]
    assert kernels(graph, merge=False) == ["map: exp", "map: add", "map: neg"]


def test_softmax_is_one_row_kernel() -> None:
    graph = made(lambda b: b.graph([softmax(b.input("x", "f32", (8, 100)))]))
    assert kernels(graph) == ["rows: amax sub exp sum div"]


def test_a_product_takes_what_follows_it() -> None:
    graph = parse("""graph f(%x: f32[8, 16], %w: f32[4, 16], %b: f32[4]) {
      %0: f32[8, 4] = contract(%x, %w) spec="bi,oi->bo"
      %1: f32[8, 4] = broadcast(%b) shape=(8, 4)
      %2: f32[8, 4] = add(%0, %1)
      %3: f32[8, 4] = relu(%2)
      return %3
    }""")
    assert kernels(graph) == ["contract: contract add relu"]


def test_a_column_sum_feeds_nothing_in_its_kernel() -> None:
    graph = parse("""graph f(%x: f32[8, 16]) {
      %0: f32[8, 16] = exp(%x)
      %1: f32[16] = sum(%0) axes=(0,)
      %2: f32[16] = neg(%1)
      return %2
    }""")
    assert kernels(graph) == ["columns: exp sum", "map: neg"]


def test_no_kernel_waits_for_itself() -> None:
    graph = parse("""graph f(%x: f32[8, 8]) {
      %0: f32[8, 8] = exp(%x)
      %1: f32[8, 8] = contract(%0, %x) spec="ij,jk->ik"
      %2: f32[8, 8] = mul(%0, %0)
      %3: f32[8, 8] = add(%1, %2)
      return %3
    }""")
    assert kernels(graph) == ["map: exp", "contract: contract mul add"]


def test_updates_are_apart_from_products_and_in_place() -> None:
    graph = parse("""graph f(%p: f32[8, 8] state, %x: f32[8, 8]) {
      %0: f32[8, 8] = contract(%p, %x) spec="ij,jk->ik"
      %1: f32[8, 8] = sub(%p, %0)
      return ; write %p = %1
    }""")
    fused = fuse(graph)
    assert [t.kind for t in fused.tasks] == ["contract", "map"]
    (home,) = fused.places.homes.values()
    assert home.root is graph.inputs[0]


def test_a_swap_goes_through_a_copy() -> None:
    graph = parse("""graph f(%p: f32[8] state, %q: f32[8] state) {
      return ; write %p = %q, write %q = %p
    }""")
    assert kernels(graph) == ["copy", "copy", "copy", "copy"]


def test_a_check_comes_before_the_first_write() -> None:
    graph = parse("""graph f(%p: f32[8] state, %x: f32[4], %i: i64[4]) {
      %0: f32[8] = neg(%p)
      %1: f32[4] = gather(%x, %i) axis=0
      return %1; write %p = %0
    }""")
    tasks = [t.kind for t in fuse(graph).tasks]
    assert tasks.index("check") == 0


def test_reasons_are_kept() -> None:
    fused = fuse(
        parse("""graph f(%x: f32[8, 16]) {
      %0: f32[16] = sum(%x) axes=(0,)
      %1: f32[16] = neg(%0)
      return %1
    }""")
    )
    assert "sum -> neg: apart, its sums are complete only after the kernel" in fused.reasons
