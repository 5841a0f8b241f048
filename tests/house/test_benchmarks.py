"""The benchmarks' own parts: roofs that do their work, bars that are met or missed as printed."""

import numpy as np

from benchmarks import __main__ as table
from benchmarks import limits, memory
from benchmarks.timing import OURS, Row, Timed, built, differing


def test_roofs_copy_and_read_what_they_say():
    a = limits.aligned(4096).view(np.float32)
    b, c = limits.aligned(4096).view(np.float32), limits.aligned(4096).view(np.float32)
    a[:] = np.arange(a.size)
    limits.kernels().copy(a.ctypes.data, b.ctypes.data, a.size)
    limits.kernels().stream(a.ctypes.data, c.ctypes.data, a.size)
    assert (b == a).all() and (c == a).all()
    a[:] = 1
    lane = limits.kernels().read(a.ctypes.data, a.size)
    assert lane * limits.host().lanes(4) == a.size


def test_every_figure_has_a_name_of_its_own():
    names = [figure.name for figure in table.chosen("")]
    assert len(names) == len(set(names)) > 10


def test_a_contender_that_cannot_run_is_named():
    def broken():
        raise RuntimeError("not here\nmore")

    calls, first, trouble = built({"good": lambda: lambda: np.ones(2), "bad": broken})
    assert (list(calls), list(first), trouble) == (
        ["good"],
        ["good"],
        ["bad: RuntimeError: not here"],
    )


def test_a_contender_that_computes_something_else_is_named():
    first = {
        "torch": np.ones(3),
        "close": np.ones(3) + 1e-6,
        "far": np.zeros(3),
        "flat": np.ones(1),
    }
    assert differing(first) == ["far: its result differs", "flat: its result differs"]


def test_the_verdict_follows_the_bar():
    row = Row("f", "p", "ms", {OURS: 3.0, "torch": 2.0}, bar=2.0, limit=1.5)
    assert table.cells(row)[3:] == ["3", "2", "1.5", "50%", "1.50 x the bar", "torch 2 (1.50)"]
    assert table.cells(row._replace(bar=3.0))[7] == "holds"


def test_a_figure_without_its_peers_has_no_bar():
    figure = Timed("f", "p", {}, bar=lambda seconds: seconds["torch"])
    assert figure.row().bar is None


def test_memory_freed_before_a_step_is_not_new():
    assert memory.highest([-8, 5, 4, -9, 3]) == 9
