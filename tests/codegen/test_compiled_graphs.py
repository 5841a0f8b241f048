"""Random graphs as machine code against the interpreter: the same bits where they are promised, else near."""

import numpy as np
import pytest
from random_graphs import differences, random_arrays, random_graph, random_sizes

from gristmill.codegen.detect import level
from gristmill.codegen.executable import compile_graph
from gristmill.ir.dtypes import COMPLEX
from gristmill.ir.graph import Graph, Value
from gristmill.ir.interpret import interpret

NEAR = {"f16": 0.02, "bf16": 0.05, "f32": 1e-4, "c64": 1e-4, "f64": 1e-6, "c128": 1e-6}
BLOCK = 25


def check(seed: int, symbolic: bool, exact: bool, target=None) -> None:
    graph = random_graph(seed, symbolic=symbolic, exact=exact)
    sizes = random_sizes(graph, seed)
    arrays = [np.array(a) for a in random_arrays(graph, seed, sizes)]
    outputs, written = interpret(graph, [a.copy() for a in arrays], sizes)
    changed = [a.copy() for a in arrays]
    run = compile_graph(graph, target=target, options={"verify": seed % 5 == 0})
    found = run(changed, sizes=sizes)
    found += [changed[graph.inputs.index(x)] for x, _ in graph.writes]
    bounds = bounds_of(graph)
    for k, v in enumerate([*graph.outputs, *[new for _, new in graph.writes]]):
        got, want = found[k], np.asarray([*outputs, *written][k])
        wrong = different(got, want, exact, bounds[v])
        assert not wrong, f"seed {seed}, result {k}: {wrong}\n{graph}"
    on_the_host(graph, run)


def bounds_of(graph: Graph) -> dict[Value, float]:
    """How near each value must be: by the coarsest float that it follows from."""
    bounds: dict[Value, float] = {}
    for v in graph.inputs:
        bounds[v] = NEAR.get(v.dtype.name, 0.0)
    for node in graph.nodes:
        before = max((bounds[o] for o in node.operands), default=0.0)
        for v in node.results:
            bounds[v] = max(before, NEAR.get(v.dtype.name, 0.0))
    return bounds


def different(got: np.ndarray, want: np.ndarray, exact: bool, bound: float) -> str:
    """Why two results are not equal enough, or nothing."""
    if exact or got.dtype.kind in "biu" or (got.dtype, got.shape) != (want.dtype, want.shape):
        return differences(got, want)
    x, y = got.astype(np.complex128), want.astype(np.complex128)
    with np.errstate(all="ignore"):
        near = np.abs(x - y) <= bound * (1 + np.abs(y))
        near |= (x == y) | (np.isnan(x) & np.isnan(y))
    return "" if near.all() else f"{got[~near]} is not near {want[~near]}"


def on_the_host(graph: Graph, run) -> None:
    """Only sorting, complex numbers and tasks of no nodes run in Python."""
    for stage in run.stages:
        for task, lowered in stage.tasks:
            for node in task.group.nodes if lowered is None else ():
                dtypes = [v.dtype for v in (*node.operands, *node.results)]
                apart = node.op.name in ("argsort", "constant") or not set(COMPLEX).isdisjoint(dtypes)
                assert apart, f"{node.op.name} runs in Python\n{graph}"


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("exact", [False, True], ids=["near", "exact"])
@pytest.mark.parametrize("first", range(0, 75, BLOCK))
def test_random_graphs(first: int, exact: bool, symbolic: bool) -> None:
    for seed in range(first, first + BLOCK):
        check(seed, symbolic, exact)


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3"])
def test_other_machines(name: str) -> None:
    """Narrower vectors, no fused multiply-add, no conversion of halves."""
    for seed in range(500, 520):
        check(seed, seed % 2 == 0, seed % 3 == 0, level(name))


@pytest.mark.full
@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("exact", [False, True], ids=["near", "exact"])
@pytest.mark.parametrize("first", range(10_000, 11_250, BLOCK))
def test_many_random_graphs(first: int, exact: bool, symbolic: bool) -> None:
    for seed in range(first, first + BLOCK):
        check(seed, symbolic, exact)
