"""Nasty programs about values that Python holds: numbers, globals, closures, plain objects, containers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compiled_programs import compare, draw, network, numbers, training

import gristmill as gm
from gristmill import nn, optim

LR = 0.1
CFG: dict[str, Any] = {"lr": 0.1, "deep": {"k": 2.0}}
WS: list[Any] = []
COUNT = 0


class Box:
    """A plain object."""


def test_scheduler_changes_lr() -> None:
    def make(comp: Any) -> Any:
        net, opt = network()
        schedule = optim.lr_scheduler.StepLR(opt, 2, 0.5)
        f = comp(training(net, opt))

        def call(i: int) -> float:
            loss = f(draw(8, 4), draw(8, 2)).item()
            schedule.step()
            return loss

        return call

    compare(make, [1])


def test_float_argument() -> None:
    def make(comp: Any) -> Any:
        f = comp(lambda x, a: x * a + a**2)
        return lambda i: numbers(f(draw(3), 0.1 * i))

    compare(make, [1])


def test_branch_on_a_number() -> None:
    def make(comp: Any) -> Any:
        f = comp(lambda x, a: x * a if a > 0.25 else x - a)
        return lambda i: numbers(f(draw(3), 0.1 * i))

    compare(make, [2])


def test_int_decides_a_shape() -> None:
    f = gm.compile(lambda x, n: x[:n].sum())
    for n in (2, 2, 3):
        want = numbers(draw(5))[:n].sum()
        np.testing.assert_allclose(f(draw(5), n).item(), want, rtol=1e-6)
    assert len(f.log) == 2
    assert "n0 == 2 is no longer True (decided at" in f.log[-1]
    assert "test_nasty_values.py" in f.log[-1]


def test_global_float(monkeypatch: pytest.MonkeyPatch) -> None:
    f = gm.compile(lambda x: x * LR)
    f(draw(3))
    monkeypatch.setitem(globals(), "LR", 0.2)
    assert np.array_equal(numbers(f(draw(3))), numbers(draw(3) * 0.2))
    assert "LR changed from 0.1 to 0.2" in f.log[-1]


def test_closure_float() -> None:
    a = 1.0
    f = gm.compile(lambda x: x * a)
    f(draw(3))
    a = 2.0
    assert np.array_equal(numbers(f(draw(3))), numbers(draw(3) * 2.0))
    assert "a changed from 1.0 to 2.0" in f.log[-1]


def helper(x: gm.Tensor) -> gm.Tensor:
    return x * CFG["deep"]["k"]


def test_global_dict_read_in_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    f = gm.compile(lambda x: helper(x))
    f(draw(3))
    monkeypatch.setitem(CFG["deep"], "k", 3.0)
    assert np.array_equal(numbers(f(draw(3))), numbers(draw(3) * 3.0))
    assert "CFG['deep']['k'] changed from 2.0 to 3.0" in f.log[-1]


def test_list_of_tensors_is_changed() -> None:
    WS[:] = [draw(3), draw(3)]

    def g(x: gm.Tensor) -> Any:
        return x + WS[0] + sum(w.sum() for w in WS)

    f = gm.compile(g)
    f(draw(3))
    WS[1] = draw(3, seed=5)
    np.testing.assert_allclose(numbers(f(draw(3))), numbers(g(draw(3))), rtol=1e-6)
    assert "WS" in f.log[-1]


def test_plain_object_counter() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.count = 0

        @gm.compile
        def step(self, x: gm.Tensor) -> gm.Tensor:
            self.count += 1
            return x * 2

    trainer = Trainer()
    with pytest.raises(gm.TraceError, match=r"self\.count was changed by the traced function"):
        trainer.step(draw(3))
    assert trainer.count == 0


def test_global_counter() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        global COUNT
        COUNT += 1
        return x

    with pytest.raises(gm.TraceError, match="COUNT was changed by the traced function"):
        gm.compile(f)(draw(3))
    assert COUNT == 0


def test_plain_object_attribute_assigned() -> None:
    box: Any = Box()
    box.calls = 0

    def f(x: gm.Tensor) -> gm.Tensor:
        box.calls = box.calls + 1
        return x

    with pytest.raises(gm.TraceError, match=r"box\.calls was changed by the traced function"):
        gm.compile(f)(draw(3))
    assert box.calls == 0


def test_list_append_of_a_number() -> None:
    log: Any = Box()
    log.rows = []

    def f(x: gm.Tensor) -> gm.Tensor:
        log.rows.append(1)
        return x

    with pytest.raises(gm.TraceError, match=r"log\.rows was changed by the traced function"):
        gm.compile(f)(draw(3))
    assert log.rows == []


def test_python_int_attribute_changes() -> None:
    def make(comp: Any) -> Any:
        net: Any = nn.Linear(4, 4)
        net.steps = 0

        def f(x: gm.Tensor) -> gm.Tensor:
            net.steps += 1
            return (x * net.steps).sum()

        c = comp(f)
        return lambda i: [c(draw(2, 4)).item(), net.steps]

    compare(make, [1])


def test_module_float_changed() -> None:
    net = nn.Dropout(0.5)
    f = gm.compile(lambda x: net(x))
    f(draw(50))
    for p in (0.1, 0.2, 0.3):
        net.p = p
        gm.manual_seed(1)
        found = numbers(f(draw(50)))
        gm.manual_seed(1)
        np.testing.assert_allclose(found, numbers(net(draw(50))), rtol=1e-6)
    assert "Dropout.p changed from 0.5 to 0.1" in f.log[1]
    assert len(f.log) == 2


def test_numpy_global_inside() -> None:
    a = np.ones(3, np.float32)
    f = gm.compile(lambda x: x + a)
    f(draw(3))
    a += 1
    assert np.array_equal(numbers(f(draw(3))), numbers(draw(3)) + a)


def test_deep_container_of_plain_objects() -> None:
    root: Any = Box()
    root.list = [[[{"k": 2.0}]]]
    f = gm.compile(lambda x: x * root.list[0][0][0]["k"])
    f(draw(3))
    root.list[0][0][0]["k"] = 3.0
    assert np.array_equal(numbers(f(draw(3))), numbers(draw(3) * 3.0))


def test_value_from_a_method_of_a_plain_object() -> None:
    class Config:
        def __init__(self) -> None:
            self._lr = 2.0

        @property
        def lr(self) -> float:
            return self._lr

        def get(self) -> float:
            return self._lr

    cfg = Config()
    f = gm.compile(lambda x: x * cfg.lr + cfg.get())
    f(draw(3))
    cfg._lr = 3.0
    assert np.array_equal(numbers(f(draw(3))), numbers(draw(3) * 3.0 + 3.0))
    assert "self._lr changed from 2.0 to 3.0" in f.log[-1]


def test_key_held_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "lr"
    f = gm.compile(lambda x: x * CFG[name])
    f(draw(3))
    monkeypatch.setitem(CFG, "lr", 3.0)
    assert np.array_equal(numbers(f(draw(3))), numbers(draw(3) * 3.0))


def test_two_closures_of_one_factory() -> None:
    def scaled(k: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def f(x: gm.Tensor) -> gm.Tensor:
            return x * k

        def change(v: float) -> None:
            nonlocal k
            k = v

        return f, change

    (f, _), (h, change) = scaled(2.0), scaled(3.0)
    c = gm.compile(lambda x: f(x) + h(x))
    c(draw(3))
    change(5.0)
    assert np.array_equal(numbers(c(draw(3))), numbers(f(draw(3)) + h(draw(3))))
    assert "k changed from 3.0 to 5.0" in c.log[-1]


def test_two_instances_of_a_plain_class() -> None:
    class Scale:
        def __init__(self, k: float) -> None:
            self.k = k

        def __call__(self, x: gm.Tensor) -> gm.Tensor:
            return x * self.k

    a, b = Scale(2.0), Scale(3.0)
    c = gm.compile(lambda x: a(x) + b(x))
    c(draw(3))
    b.k = 5.0
    assert np.array_equal(numbers(c(draw(3))), numbers(a(draw(3)) + b(draw(3))))
    assert "self.k changed from 3.0 to 5.0" in c.log[-1]


def test_functions_in_a_list_of_lambdas() -> None:
    ks = [2.0, 3.0]
    functions = [lambda x: x * ks[0], lambda x: x * ks[1]]

    def f(x: gm.Tensor) -> gm.Tensor:
        for h in functions:
            x = h(x)
        return x

    c = gm.compile(f)
    c(draw(3))
    ks[1] = 5.0
    assert np.array_equal(numbers(c(draw(3))), numbers(f(draw(3))))
    assert "ks[1] changed from 3.0 to 5.0" in c.log[-1]


def test_global_is_also_an_argument() -> None:
    w = draw(3)
    f = gm.compile(lambda x: x * 2.0 + w)
    for x in (w, draw(3, seed=1), w):
        assert np.array_equal(numbers(f(x)), numbers(x * 2.0 + w))
    assert len(f.log) == 2


def test_lr_becomes_a_tensor() -> None:
    net, opt = network()
    f = gm.compile(training(net, opt))
    f(draw(8, 4), draw(8, 2))
    opt.param_groups[0]["lr"] = gm.tensor(0.0)
    old = numbers(net[0].weight)
    f(draw(8, 4), draw(8, 2))
    assert np.array_equal(old, numbers(net[0].weight))
    assert len(f.log) == 2


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda opt: optim.lr_scheduler.StepLR(opt, 2, 0.5),
    "MultiStepLR": lambda opt: optim.lr_scheduler.MultiStepLR(opt, [2, 4], 0.5),
    "ExponentialLR": lambda opt: optim.lr_scheduler.ExponentialLR(opt, 0.9),
    "ConstantLR": lambda opt: optim.lr_scheduler.ConstantLR(opt, 0.5, 3),
    "LinearLR": lambda opt: optim.lr_scheduler.LinearLR(opt, 0.1, total_iters=3),
    "CosineAnnealingLR": lambda opt: optim.lr_scheduler.CosineAnnealingLR(opt, 20),
    "LambdaLR": lambda opt: optim.lr_scheduler.LambdaLR(opt, lambda epoch: 0.9**epoch),
    "lambda of math": lambda opt: optim.lr_scheduler.LambdaLR(opt, lambda e: math.exp(-e)),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_a_schedule_steps_inside(case: str) -> None:
    traces = []

    def make(comp: Any) -> Any:
        net, opt = network()
        schedule = SCHEDULES[case](opt)
        step = training(net, opt)

        def both(x: gm.Tensor, y: gm.Tensor) -> gm.Tensor:
            loss = step(x, y)
            schedule.step()
            return loss

        f = comp(both)
        traces.append(f)

        def call(i: int) -> Any:
            loss = f(draw(8, 4), draw(8, 2)).item()
            return [loss, schedule.last_epoch, *schedule.get_last_lr(), opt.param_groups[0]["lr"]]

        return call

    rows = []
    for comp in (lambda f: f, gm.compile):
        call = make(comp)
        rows.append([call(i) for i in range(10)])
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5)
    most = {"MultiStepLR": 6, "lambda of math": 10}
    assert len(traces[1].log) <= most.get(case, 3), traces[1].log


def test_a_number_is_set_inside() -> None:
    net: Any = nn.Linear(4, 4)
    net.steps, net.rows = 0, []

    def f(x: gm.Tensor) -> gm.Tensor:
        net.steps += 1
        net.steps = 5
        net.rows = [x.sum()]
        return (x * net.steps).sum()

    c = gm.compile(f)
    for _ in range(4):
        net.steps = 0
        assert c(draw(2, 4)).item() == pytest.approx(f(draw(2, 4)).item())
        net.steps = 0
        assert c(draw(2, 4)).item() == pytest.approx(net.rows[0].item() * 5)
        assert net.steps == 5


def test_a_value_is_set_to_what_it_is() -> None:
    net: Any = nn.Linear(4, 4)
    net.kind = "b"

    def f(x: gm.Tensor) -> gm.Tensor:
        net.kind = "b"
        return net(x)

    c = gm.compile(f)
    for net.kind in ("b", "a", "b", "a"):
        for _ in range(3):
            c(draw(2, 4))
            assert net.kind == "b"
    assert len(c.log) == 2


def test_a_plateau_inside_is_refused() -> None:
    net, opt = network()
    schedule = optim.lr_scheduler.ReduceLROnPlateau(opt)
    f = gm.compile(lambda x: (net(x), schedule.step(1.0))[0])
    with pytest.raises(gm.TraceError, match=r"ReduceLROnPlateau inside[\s\S]*call it after"):
        f(draw(8, 4))


def test_equal_but_different() -> None:
    box: Any = Box()
    net: Any = nn.Module()

    def f(x: gm.Tensor, a: float) -> gm.Tensor:
        return x * math.copysign(1.0, box.k) + math.copysign(2.0, net.k) * math.copysign(3.0, a)

    c = gm.compile(f)
    for box.k in (0.0, -0.0):
        for net.k in (0.0, -0.0):
            for a in (0.0, -0.0):
                for _ in range(4):
                    assert np.array_equal(numbers(c(draw(3), a)), numbers(f(draw(3), a)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(value: float) -> None:
    box: Any = Box()
    box.k = value
    c = gm.compile(lambda x, a: x + (1 if math.isfinite(box.k) else 2) + (1 if float(a) > 5 else 2))
    for _ in range(4):
        box.k = float(str(value))  # equal, but another object
        want = numbers(draw(3) + 2 + (1 if value > 5 else 2))
        assert np.array_equal(numbers(c(draw(3), float(str(value)))), want)
    assert len(c.log) == 1


def test_bools_of_numpy() -> None:
    c = gm.compile(lambda x, flag: x * 2 if flag else x)
    for flag in (np.bool_(True), np.bool_(False), True, False) * 2:
        for _ in range(3):
            want = numbers(draw(3) * 2 if flag else draw(3))
            assert np.array_equal(numbers(c(draw(3), flag)), want)
    assert len(c.log) == 4


def test_functions_with_other_defaults() -> None:
    def make(k: float) -> Callable[..., Any]:
        def f(x: gm.Tensor, *, k: float = k) -> gm.Tensor:
            return x * k

        return f

    c = gm.compile(lambda x, f: f(x))
    for k in (2.0, 3.0):
        for _ in range(3):
            assert np.array_equal(numbers(c(draw(3), make(k))), numbers(draw(3) * k))
