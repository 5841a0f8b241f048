"""Compiled graphs against the interpreter: whole training steps, strides, checks, kernels found again."""

import gc
import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from random_graphs import differences, random_arrays, random_graph, random_sizes

from gristmill.codegen import kernels
from gristmill.codegen.executable import compile_graph
from gristmill.ir import ops
from gristmill.ir.dtypes import float32
from gristmill.ir.errors import IndexRangeError
from gristmill.ir.graph import Builder, Graph, Value, building
from gristmill.ir.interpret import interpret
from gristmill.ir.parse import parse_graph as parse
from gristmill.passes.differentiate import differentiate


def along(v: Value, like: Value) -> Value:
    return ops.broadcast(ops.reshape(v, shape=(like.shape[0], 1)), shape=like.shape)


def cross_entropy(z: Value, y: Value) -> Value:
    d = z - along(ops.detach(ops.amax(z, axes=(1,))), z)
    logp = d - along(ops.log(ops.sum_(ops.exp(d), axes=(1,))), z)
    picked = ops.gather(logp, ops.reshape(y, shape=(z.shape[0], 1)), axis=1)
    count = ops.cast(ops.size(value=z.shape[0]), dtype=float32)
    return -(ops.sum_(ops.reshape(picked, shape=(z.shape[0],)), axes=(0,)) / count)


def training_step(batch: int | str, dims: tuple[int, ...], optimizer: str) -> Graph:
    b = Builder("step")
    with building(b):
        x, y = b.input("x", "f32", (batch, dims[0])), b.input("y", "i64", (batch,))
        rate = ops.cast(b.input("rate", "f64", (), "number"), dtype=float32)
        params = []
        for i, (p, q) in enumerate(itertools.pairwise(dims)):
            params += [
                b.input(f"w{i}", "f32", (q, p), "state"),
                b.input(f"b{i}", "f32", (q,), "state"),
            ]
        h = x
        for i in range(len(dims) - 1):
            h = ops.contract(ops.relu(h) if i else h, params[2 * i], spec="bi,oi->bo")
            h = h + ops.broadcast(params[2 * i + 1], shape=h.shape)
        loss = cross_entropy(h, y)
        gradients = differentiate({loss: loss.full(1.0)}, wrt=params)
        update = {"sgd": sgd, "adam": adam}[optimizer]
        return b.graph([loss], update(b, params, gradients, rate))


def sgd(
    b: Builder, params: list[Value], gradients: dict[Value, Value], rate: Value
) -> list[tuple[Value, Value]]:
    writes = []
    for i, p in enumerate(params):
        m = b.input(f"m{i}", "f32", p.shape, "state")
        moved = m * 0.9 + gradients[p]
        writes += [(m, moved), (p, p - ops.broadcast(rate, shape=p.shape) * moved)]
    return writes


def adam(
    b: Builder, params: list[Value], gradients: dict[Value, Value], rate: Value
) -> list[tuple[Value, Value]]:
    t = b.input("t", "f32", (), "state")
    now = t + 1.0
    writes = [(t, now)]
    first, second = (1.0 - ops.pow(t.full(beta), now) for beta in (0.9, 0.999))
    for i, p in enumerate(params):
        g = gradients[p]
        m, v = b.input(f"m{i}", "f32", p.shape, "state"), b.input(f"v{i}", "f32", p.shape, "state")
        m1, v1 = m * 0.9 + g * 0.1, v * 0.999 + g * g * 0.001
        mean = m1 / ops.broadcast(first, shape=p.shape)
        root = ops.sqrt(v1 / ops.broadcast(second, shape=p.shape)) + 1e-8
        writes += [(m, m1), (v, v1), (p, p - ops.broadcast(rate, shape=p.shape) * (mean / root))]
    return writes


def step_arrays(graph: Graph, batch: int) -> list[np.ndarray]:
    rng, out = np.random.default_rng(0), []
    for v in graph.inputs:
        name, shape = (
            v.node.attributes[0],
            tuple(n if isinstance(n, int) else batch for n in v.shape),
        )
        if name == "y":
            out.append(rng.integers(0, 10, shape))
        elif name == "rate":
            out.append(np.array(0.01))
        else:
            scale = 0.0 if name[0] in "mvt" else 0.3
            out.append(np.array(rng.normal(size=shape) * scale, np.float32))
    return out


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch", [8, "n"], ids=["static", "symbolic"])
def test_training_step(batch: int | str, optimizer: str) -> None:
    graph = training_step(batch, (20, 33, 10), optimizer)
    step = compile_graph(graph)
    for size in (8,) if batch == 8 else (8, 3, 17):
        arrays = step_arrays(graph, size)
        expected = [np.array(a) for a in arrays]
        for _ in range(3):
            (loss,) = step(arrays)
            (wanted,), written = interpret(graph, expected)
            for (x, _), w in zip(graph.writes, written, strict=True):
                expected[graph.inputs.index(x)] = np.array(w)
            assert loss == pytest.approx(float(wanted), rel=1e-4)
        for a, b in zip(arrays, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)


def test_all_updates_are_segments_of_one_step() -> None:
    step = compile_graph(training_step(8, (20, 33, 10), "adam"))
    assert [k["segments"] for k in step.explain()["kernels"] if k["segments"] > 1] == [4]
    assert len(step.explain()["kernels"]) <= 14


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("first", range(1000, 1012, 4))
def test_random_graphs(first: int, symbolic: bool) -> None:
    for seed in range(first, first + 4):
        graph = random_graph(seed, symbolic=symbolic, exact=True)
        sizes = random_sizes(graph, seed)
        arrays = [np.array(a) for a in random_arrays(graph, seed, sizes)]
        outputs, written = interpret(graph, [a.copy() for a in arrays], sizes)
        found = compile_graph(graph)(arrays)
        found += [arrays[graph.inputs.index(x)] for x, _ in graph.writes]
        for a, b in zip(found, [*outputs, *written], strict=True):
            assert not differences(a, np.asarray(b))


def test_strides_of_inputs_and_outputs() -> None:
    graph = parse("graph f(%x: f32[3, 4]) {\n%0: f32[3, 4] = neg(%x)\nreturn %0\n}")
    x = np.arange(12, dtype=np.float32).reshape(4, 3).T
    (out,) = compile_graph(graph, input_strides=[(1, 3)], output_strides=[(1, 3)])([x])
    assert out.strides == (4, 12)
    assert (out == -x).all()


def test_an_index_out_of_range_stops_before_any_write() -> None:
    graph = parse("""graph f(%p: f32[4] state, %i: i64[2]) {
      %0: f32[4] = neg(%p)
      %1: f32[2] = gather(%p, %i) axis=0         # train.py:7
      return %1; write %p = %0
    }""")
    run, p = compile_graph(graph), np.ones(4, np.float32)
    with pytest.raises(
        IndexRangeError, match=r"(?s)gather: index -1 is outside .* size 4.*train.py:7"
    ):
        run([p, np.array([0, -1])])
    assert (p == 1).all()
    assert run([p, np.array([0, 3])])[0].tolist() == [1, 1]
    assert (p == -1).all()


def test_a_swap() -> None:
    graph = parse(
        "graph f(%p: f32[2] state, %q: f32[2] state) {\nreturn ; write %p = %q, write %q = %p\n}"
    )
    p, q = np.zeros(2, np.float32), np.ones(2, np.float32)
    compile_graph(graph)([p, q])
    assert (p.tolist(), q.tolist()) == ([1, 1], [0, 0])


def test_one_kernel_serves_all_sizes_and_goes_with_its_last_user() -> None:
    text = "graph f(%x: f32[SIZE]) {{\n%0: f32[SIZE] = {}(%x)\nreturn %0\n}}"
    gc.collect()
    before = kernels.stats()["alive"]
    runs = [compile_graph(parse(text.format("tanh").replace("SIZE", n))) for n in ("5", "70", "n")]
    assert kernels.stats()["alive"] == before + 1
    for run in runs:
        assert run([np.zeros(5 if run is runs[0] else 70, np.float32)])[0].sum() == 0
    del runs, run
    gc.collect()
    assert kernels.stats()["alive"] == before


def test_a_kernel_from_disk_needs_no_llvm() -> None:
    script = """
import sys
import numpy as np
from gristmill.codegen.executable import compile_graph
from gristmill.ir.parse import parse_graph as parse
graph = parse("graph f(%x: f32[8]) {\\n%0: f32[8] = exp(%x)\\nreturn %0\\n}")
assert compile_graph(graph)([np.zeros(8, np.float32)])[0].tolist() == [1.0] * 8
print("llvmlite" in sys.modules)
"""
    environment = {**os.environ, "GRISTMILL_CACHE": "on", "GRISTMILL_PORTABLE": "0"}
    run = [sys.executable, "-c", script]
    found = [
        subprocess.run(run, capture_output=True, text=True, check=True, env=environment)
        for _ in range(2)
    ]
    assert found[1].stdout == "False\n"


def test_dumps_have_every_stage() -> None:
    run = compile_graph(parse("graph f(%x: f32[8]) {\n%0: f32[8] = exp(%x)\nreturn %0\n}"))
    for stage, words in {
        "graph": "exp(%x)", "fused": "map: exp", "loops": "for i0 in count", "schedule": "vectorize",
        "nests": "vector", "llvm": "define void", "asm": ".text",
    }.items():  # fmt: skip
        assert words in run.dump(stage)
    with pytest.raises(ValueError, match="no stage is called 'ptx'"):
        run.dump("ptx")


def test_explain_tells_traffic_and_memory() -> None:
    graph = parse("""graph f(%x: f32[64, 32], %w: f32[16, 32]) {
      %0: f32[64, 16] = contract(%x, %w) spec="bi,oi->bo"
      %1: f32[16] = sum(%0) axes=(0,)
      return %1
    }""")
    found = compile_graph(graph).explain()
    product, total = found["kernels"]
    assert (product["read"], product["written"]) == (4 * (64 * 32 + 16 * 32), 4 * 64 * 16)
    assert product["flops"] == 2 * 64 * 32 * 16
    assert total["ops"][0][0] == "sum"
    assert found["memory"]["arena"] >= 4 * 64 * 16


def test_kernels_that_differ_by_the_sign_of_a_zero() -> None:
    """Equal as numbers, they are not one kernel: ``x / 0.0`` and ``x / -0.0``."""
    b = Builder("f")
    with building(b):
        x = b.input("x", "f32", (4,))
        graph = b.graph([x / x.full(0.0), x / x.full(-0.0)])
    up, down = compile_graph(graph)([np.array([1, -1, 2, -2], np.float32)])
    assert up.tolist() == (-down).tolist() == [math.inf, -math.inf] * 2


def test_nan_in_bf16_from_zeros_that_the_compiler_sees() -> None:
    text = """graph f(%x: i32[20]) {
%0: bool[20] = lt(%x, %x)
%1: bf16[20] = cast(%0) dtype=bf16
%2: bf16[20] = div(%1, %1)
%3: f32[20] = cast(%2) dtype=f32
return %3
}"""
    (found,) = compile_graph(parse(text))([np.arange(20, dtype=np.int32)])
    assert np.isnan(found).all()
