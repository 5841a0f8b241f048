"""The trace as text: inputs, writes, source lines, module paths, origins; and that nothing outside is touched."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from compiled_programs import draw, network, numbers, training

import gristmill as gm
from gristmill import nn
from gristmill.ir.parse import parse_graph as parse
from gristmill.ir.verify import verify


def traced(f: Any, *args: Any) -> str:
    """The trace without its comments."""
    compiled = gm.compile(f)
    compiled(*args)
    lines = compiled.dump("trace").splitlines()
    return "\n".join(line.split("  #")[0].rstrip() for line in lines)


def test_inputs_and_outputs() -> None:
    w = draw(3)
    assert traced(lambda x, k: x * k + w, draw(2, 3), 2.0) == (
        "graph trace(%x0: f32[2, 3], %n1: f64[] number, %s2: f32[3] state) {\n"
        "  %0: f32[] = cast(%n1) dtype=f32\n"
        "  %1: f32[2, 3] = broadcast(%0) shape=(2, 3)\n"
        "  %2: f32[2, 3] = mul(%x0, %1)\n"
        "  %3: f32[2, 3] = broadcast(%s2) shape=(2, 3)\n"
        "  %4: f32[2, 3] = add(%2, %3)\n"
        "  return %4\n"
        "}"
    )


def test_writes() -> None:
    w = draw(3)

    def f(x: gm.Tensor) -> None:
        w[0] += 1
        x.mul_(w)

    last = traced(f, draw(3)).splitlines()[-2]
    assert re.fullmatch(r"  return; write %x0 = %\d+, write %s1 = %\d+", last)


def test_a_training_step_reads_back() -> None:
    step = gm.compile(training(*network()))
    step(draw(8, 4), draw(8, 2))
    graph = step.variants[0].traced
    verify(graph)
    assert str(parse(str(graph))) == str(graph)
    assert len(graph.writes) == 4
    origins = {node.site.origin for node in graph.nodes}
    assert {"forward", "backward"} <= origins
    assert {"0", "1", "2"} <= {node.site.path for node in graph.nodes}
    assert all("compiled_programs.py" in str(node.site.span) for node in graph.nodes)


def test_paths_of_nested_modules() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.Linear(3, 2))
    f = gm.compile(lambda x: net(x))
    f(draw(2, 3))
    paths = [n.site.path for n in f.variants[0].traced.nodes]
    assert list(dict.fromkeys(paths)) == ["0.0", "0.1", "1"]


def test_one_state_however_it_is_reached() -> None:
    w = draw(3)
    holder = {"w": w}
    alias = [w.detach(), w[1:]]
    text = traced(lambda x: x * w + holder["w"] + alias[0] + alias[1].sum(), draw(3))
    assert text.count(" state") == 1


def test_a_compiled_function_is_inlined() -> None:
    inner = gm.compile(lambda x: x * 2)
    assert traced(lambda x: inner(inner(x)), draw(3)).count("mul") == 2


def test_unrolling_of_loops() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        total = gm.zeros(2)
        for row in x:
            total = total + row
        a, b, c = x
        return total + len(x) + a + b + c

    assert np.allclose(numbers(gm.compile(f)(draw(3, 2))), numbers(f(draw(3, 2))))


def test_identity_of_objects_survives() -> None:
    net, opt = network(gm.optim.Adam, lr=0.01)
    before = [(p, p._storage, p.data_ptr()) for p in net.parameters()]
    state = dict(opt.state)
    step = gm.compile(training(net, opt))
    for _ in range(3):
        step(draw(8, 4), draw(8, 2))
    for p, (q, storage, address) in zip(net.parameters(), before, strict=True):
        assert p is q and p._storage is storage and p.data_ptr() == address
        assert opt.state[p]["exp_avg"] is not None and p.grad is not None
    assert state == {}


def test_attributes_of_watched_classes_are_read_plainly_afterwards() -> None:
    net, _ = network()
    gm.compile(lambda x: net(x))(draw(2, 4))
    assert "__getattribute__" not in nn.Module.__dict__
    assert "__getattribute__" not in gm.optim.Optimizer.__dict__


def test_random_numbers_are_state() -> None:
    text = traced(lambda: gm.rand(3))
    assert "i64[2] state" in text and "write" in text
