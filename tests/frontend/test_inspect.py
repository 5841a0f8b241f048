"""``explain`` and ``dump``: every stage as text, data that adds up, nothing changed by asking."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from compiled_programs import draw, network, numbers, training

import gristmill as gm
from gristmill.frontend.inspect import STAGES
from gristmill.ir.parse import parse_graph as parse


def stepped() -> tuple[gm.nn.Module, object]:
    gc.collect()  # else what earlier tests compiled may be shared
    net, opt = network()
    step = gm.compile(training(net, opt))
    for n in (8, 8, 5):
        step(draw(n, 4), draw(n, 2))
    return net, step


def test_explain_says_what_and_why() -> None:
    net, step = stepped()
    before = [numbers(p) for p in net.parameters()]
    report = step.explain()
    text = str(report)
    assert text.startswith("step: 2 variants")
    for words in (
        "variant 1: first call",
        "sizes changed: (f32[8, 4], f32[8, 2]) -> (f32[5, 4], f32[5, 2])",
        "compiled in",
        "f32[8, 8] = contract",
        "compiled_programs.py",
        "kernels: ",
    ):
        assert words in text
    assert repr(report) == text
    assert all((a == numbers(p)).all() for a, p in zip(before, net.parameters(), strict=True))
    assert step.log[1:] == [report.variants[0]["reason"]]


def test_report_as_data() -> None:
    _, step = stepped()
    report = step.explain()
    assert report.kernels and all(k["ops"] or k["steps"] for k in report.kernels)
    assert report.peak_bytes == report.variants[0]["arena"] + report.variants[0]["outputs"]
    assert sum(k["flops"] for k in report.kernels) >= 2 * 5 * (4 * 8 + 8 * 2)
    assert set(report.costs) == {"node", "kernel"}
    assert set(report.variants[0]["times"]) >= {"trace", "simplify", "fuse", "lower", "build"}
    assert sum(report.variants[1]["found"].values()) > 0


def test_decisions_are_listed_with_their_lines() -> None:
    f = gm.compile(lambda x, k: x * k if k > 1 else x)
    f(draw(3), 2.0)
    ((text, outcome, line),) = f.explain().variants[0]["decisions"]
    assert (text, outcome) == ("(n0 > 1)", True)
    assert line.startswith("test_inspect.py:")


@pytest.mark.parametrize("stage", [*STAGES, "kernels"])
def test_every_stage_has_a_text(stage: str) -> None:
    f = gm.compile(lambda x: (x * 2).sum())
    f(draw(3))
    assert f.dump(stage).strip()


def test_dumped_graphs_read_back() -> None:
    _, step = stepped()
    for stage in ("trace", "graph", "simplify"):
        text = step.dump(stage)
        assert str(parse(text)) == text


def test_unknown_stage_and_nothing_compiled() -> None:
    f = gm.compile(lambda x: x * 2)
    with pytest.raises(RuntimeError, match="was not called yet"):
        f.dump()
    assert str(f.explain()) == "<lambda>: 0 variants"
    f(draw(3))
    with pytest.raises(ValueError, match="no stage is called 'tree'; there are trace, graph"):
        f.dump("tree")


def test_dump_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_DUMP", str(tmp_path))

    @gm.compile
    def f(x: gm.Tensor) -> gm.Tensor:
        return x * 2

    f(draw(3))
    f(draw(4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.0", "f.1"]
    names = {p.name for p in (tmp_path / "f.0").iterdir()}
    assert "0.trace.txt" in names and any(n.endswith(".ll") for n in names)
    assert "mul" in (tmp_path / "f.0" / "0.trace.txt").read_text()
