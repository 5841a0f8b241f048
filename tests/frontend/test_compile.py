"""``compile`` itself: what it takes, what it returns, switches, errors, the quick call."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from compiled_programs import assert_same, draw, network, numbers, training

import gristmill as gm
from gristmill import nn
from gristmill.frontend.compile import Compiled


def test_ways_to_say_it() -> None:
    @gm.compile
    def plain(x: gm.Tensor) -> gm.Tensor:
        """Doubles."""
        return x * 2

    @gm.compile(
        dynamic=True,
        fullgraph=True,
        mode="max-autotune",
        backend="gristmill",
        options={"fast": False},
    )
    def given(x: gm.Tensor) -> gm.Tensor:
        return x * 2

    class Callable:
        def __call__(self, x: gm.Tensor) -> gm.Tensor:
            return x * 2

    class Holder:
        @gm.compile
        def method(self, x: gm.Tensor) -> gm.Tensor:
            return x * 2

        @staticmethod
        @gm.compile
        def static(x: gm.Tensor) -> gm.Tensor:
            return x * 2

        @classmethod
        @gm.compile
        def of_class(cls, x: gm.Tensor) -> gm.Tensor:
            return x * 2

        def plain(self, x: gm.Tensor) -> gm.Tensor:
            return x * 2

    h = Holder()
    ways: list[Any] = [
        plain,
        given,
        gm.compile(lambda x: x * 2),
        gm.compile(Callable()),
        h.method,
        Holder.static,
        h.of_class,
        gm.compile(h.plain),
    ]
    for f in ways:
        for n in (3, 4, 5, 3):
            assert np.array_equal(numbers(f(draw(n))), numbers(draw(n)) * 2)
    assert plain.__name__ == "plain" and plain.__doc__ == "Doubles."
    assert gm.compile(plain) is plain


def test_foreign_backend() -> None:
    with pytest.raises(ValueError, match=r"there is no backend 'inductor': there is 'gristmill'"):
        gm.compile(lambda x: x, backend="inductor")
    with pytest.raises(ValueError, match=r"there is no mode 'fastest'.*'max-autotune'"):
        gm.compile(lambda x: x, mode="fastest")
    with pytest.raises(ValueError, match=r"there is no option 'quick'"):
        gm.compile(lambda x: x, options={"quick": True})
    with pytest.raises(TypeError, match="a function or a Module, not int"):
        gm.compile(3)


def test_a_compiled_module_is_the_module() -> None:
    net, _ = network()
    compiled = gm.compile(net)
    assert isinstance(compiled, nn.Module)
    assert list(compiled.state_dict()) == list(net.state_dict())
    assert [a is b for a, b in zip(compiled.parameters(), net.parameters(), strict=True)] == [
        True
    ] * 4
    assert getattr(compiled, "0") is net[0] and bool(compiled)
    for n in (3, 4, 5, 3):
        assert_same(numbers(net(draw(n, 4))), numbers(compiled(draw(n, 4))), "forward")
    compiled.eval()
    assert net.training is False
    compiled.extra = 3
    assert net.extra == 3


def test_switches() -> None:
    seen: list[int] = []

    def f(x: gm.Tensor) -> gm.Tensor:
        seen.append(1)
        return x * 2

    off = gm.compile(f, disable=True)
    off(draw(3)), off(draw(3))
    assert len(seen) == 2
    on = gm.compile(lambda x: x * 2)
    with gm.eager():
        on(draw(3))
    assert on.log == []
    on(draw(3))
    with gm.eager():
        on(draw(3))
    assert len(on.log) == 1


def test_environment_switches_compilation_off() -> None:
    script = "import gristmill as gm\nf = gm.compile(lambda x: x * 2)\nprint(f(gm.ones(2)).tolist(), f.log)"
    env = {**os.environ, "GRISTMILL_COMPILE": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[2.0, 2.0] []"


def test_the_quick_call_takes_over_and_gives_way() -> None:
    f: Compiled = gm.compile(lambda x: x * 2 + 1)
    f(draw(4))
    assert f.bindings.quick == []
    f(draw(4))
    assert len(f.bindings.quick) == 1
    hit = f.bindings.quick[0]
    assert np.array_equal(numbers(hit((draw(4),), {})), numbers(draw(4) * 2 + 1))
    others = [
        draw(5),
        draw(4).double(),
        draw(8)[::2],
        draw(4, 1),
        gm.tensor([1, 2, 3, 4]),
        3.0,
        None,
    ]
    for x in others:
        assert repr(hit((x,), {})) == "miss"
    assert repr(hit((), {"x": draw(4)})) == "miss"
    assert repr(hit((draw(4), draw(4)), {})) == "miss"
    w = draw(4).requires_grad_()
    assert repr(hit((w,), {})) == "miss" and repr(hit((w * 2,), {})) == "miss"
    with gm.no_grad():
        assert repr(hit((draw(4),), {})) == "miss"


@pytest.mark.parametrize(
    "dtype", [gm.float64, gm.float16, gm.bfloat16, gm.int32, gm.int64, gm.uint8, gm.bool]
)
def test_dtypes(dtype: Any) -> None:
    f = gm.compile(lambda x, y: (x + y, x * y, (x > y)))
    x, y = (draw(6, seed=s).abs().to(dtype) for s in (1, 2))
    for _ in range(3):
        for eager, compiled in zip(f.function(x, y), f(x, y), strict=True):
            assert compiled.dtype is eager.dtype
            assert compiled.tolist() == eager.tolist()


def test_empty_and_scalar_tensors() -> None:
    f = gm.compile(lambda x: (x.sum() * 2, x + 1))
    for x in (gm.zeros(0), gm.zeros(0, 3), gm.tensor(2.0), gm.zeros(3, 0, 2)):
        for _ in range(3):
            for eager, compiled in zip(f.function(x), f(x), strict=True):
                assert compiled.shape == eager.shape and compiled.tolist() == eager.tolist()


def test_nothing_to_compute() -> None:
    f = gm.compile(lambda x: None)
    g = gm.compile(lambda: gm.ones(2))
    for _ in range(3):
        assert f(draw(3)) is None
        assert g().tolist() == [1.0, 1.0]


def test_layouts_of_arrays() -> None:
    f = gm.compile(lambda x: (x * 2).sum(0) + x[0])
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    read_only = a.copy()
    read_only.setflags(write=False)
    for x in (
        a,
        a.T,
        a[::2],
        a[:, ::-1],
        a[::-1],
        np.broadcast_to(a[:1], (4, 6)),
        read_only,
        np.asfortranarray(a),
    ):
        for _ in range(3):
            assert_same(numbers(f.function(gm.tensor(x.copy()))), numbers(f(x)), str(x.strides))


def test_a_read_only_array_is_not_written() -> None:
    a = np.zeros(3, np.float32)
    a.setflags(write=False)
    f = gm.compile(lambda x: x.add_(1.0))
    for _ in range(3):
        with pytest.raises(ValueError, match="read-only"):
            f(a)
    assert not a.any()
    f(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        f(a)
    assert not a.any()


def test_a_long_run_compiles_once() -> None:
    net, opt = network(gm.optim.Adam, lr=0.01)
    f = gm.compile(training(net, opt))
    losses = [f(draw(8, 4), draw(8, 2, seed=1)).item() for _ in range(50)]
    assert losses[-1] < losses[0] / 1.5
    assert len(f.log) == 1


def test_many_captured_numbers() -> None:
    f = gm.compile(lambda x, a, b, n: (x * (a / b) + n // 2 - a**2) / (n % 3 + 1))
    for a, b, n in ((1.0, 2.0, 3), (0.5, 3.0, 8), (-1.5, 0.25, 7)):
        assert_same(numbers(f.function(draw(3), a, b, n)), numbers(f(draw(3), a, b, n)), "numbers")
    assert len(f.log) == 1


def test_a_number_that_cannot_be_computed() -> None:
    f = gm.compile(lambda x, a: x * (1.0 / a))
    f(draw(3), 2.0)
    f(draw(3), 2.0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            f(draw(3), 0.0)
    assert_same(numbers(draw(3)) * 0.25, numbers(f(draw(3), 4.0)), "after")


def calls_and_ops(depth: int) -> tuple[int, int]:
    """Python calls that compiling a training step of so many layers makes, and the ops of its graph."""
    net = gm.nn.Sequential(*[gm.nn.Linear(4, 4) for _ in range(depth)])
    opt = gm.optim.Adam(net.parameters(), lr=1e-3)

    def step(x: gm.Tensor) -> gm.Tensor:
        opt.zero_grad()
        loss = net(x).relu().sum()
        loss.backward()
        opt.step()
        return loss

    calls = 0

    def seen(frame: Any, event: str, _: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    f = gm.compile(step)
    sys.setprofile(seen)
    try:
        f(gm.ones(3, 4))
    finally:
        sys.setprofile(None)
    return calls, len(f.variants[0].traced.nodes)


def test_the_work_of_compiling_grows_with_the_ops() -> None:
    """No pass is quadratic: an op of a deep net costs what one of a shallow net does."""
    calls_and_ops(3)  # all kernels exist from here on
    (few, ops), (many, more) = calls_and_ops(8), calls_and_ops(48)
    assert more > 5 * ops
    assert many / more < 1.15 * few / ops
