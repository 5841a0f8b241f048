"""Guards: what must hold for a variant to be used, and the sentence that says what did not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compiled_programs import draw, network, numbers, training

import gristmill as gm
from gristmill import nn, optim


def changing(f: Any, *steps: Callable[[], Any], calls: int = 3) -> list[str]:
    """Call ``f`` some times after each step, eagerly and compiled; what was compiled and why."""
    compiled = gm.compile(f)
    for step in (lambda: None, *steps):
        step()
        for _ in range(calls):
            np.testing.assert_allclose(
                numbers(compiled(draw(4, 4))), numbers(f(draw(4, 4))), rtol=1e-5, atol=1e-6
            )
    return compiled.log


ARGUMENTS = {
    "dtype": (lambda: draw(4), lambda: draw(4).double(), "(f32[4]) -> (f64[4])"),
    "shape": (lambda: draw(4), lambda: draw(2, 2), "(f32[4]) -> (f32[2, 2])"),
    "number": (lambda: 2.0, lambda: 2, "(float) -> (int)"),
    "kind": (lambda: 2.0, lambda: draw(4), "(float) -> (f32[4])"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(case: str) -> None:
    first, second, reason = ARGUMENTS[case]
    f = gm.compile(lambda x: x * 2 + 1)
    for make in (first, second, first, second):
        for _ in range(2):
            assert str(f(make())) == str(make() * 2 + 1)
    assert len(f.log) == 2
    assert reason in f.log[1]


def test_strides_are_exact() -> None:
    f = gm.compile(lambda x: x + 1)
    for x in (draw(3, 4), draw(4, 3).t(), draw(3, 8)[:, ::2], draw(6, 4)[::2]):
        assert np.array_equal(numbers(f(x)), numbers(x) + 1)
    assert len(f.log) == 4
    assert np.array_equal(numbers(f(draw(5, 3).t())), numbers(draw(5, 3)).T + 1)


def test_requires_grad() -> None:
    f = gm.compile(lambda x: x * 2)
    assert not f(draw(3)).requires_grad
    w = draw(3).requires_grad_()
    for _ in range(3):
        assert f(w).requires_grad and not f(draw(3)).requires_grad
        assert f(w * 1).requires_grad
    assert len(f.log) == 3


def test_grad_mode() -> None:
    w = draw(3).requires_grad_()
    f = gm.compile(lambda: w * 2)
    for _ in range(3):
        assert f().requires_grad
        with gm.no_grad():
            assert not f().requires_grad
    assert len(f.log) == 2


def test_shared_arguments() -> None:
    f = gm.compile(lambda a, b: a + 2 * b)
    x = draw(3)
    for a, b in ((x, x), (draw(3), draw(3)), (x, x), (x, draw(3, seed=1)), (x[:2], x[1:])):
        assert np.array_equal(numbers(f(a, b)), numbers(a) + 2 * numbers(b))


def test_module_mode() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    f = gm.compile(lambda x: net(x))
    for _ in range(2):
        net.eval()
        for _ in range(2):
            assert np.allclose(numbers(f(draw(3, 4))), numbers(net(draw(3, 4))), 1e-5, 1e-6)
        net.train()
        gm.manual_seed(0)
        found = numbers(f(draw(3, 4)))
        gm.manual_seed(0)
        np.testing.assert_allclose(found, numbers(net(draw(3, 4))), rtol=1e-5, atol=1e-6)
    assert len(f.log) == 2
    assert "training changed from False to True" in f.log[1]


def test_attributes_of_modules() -> None:
    net: Any = nn.Linear(4, 4)
    net.kind, net.table = "add", {"k": 2.0}

    def f(x: gm.Tensor) -> gm.Tensor:
        y = net(x) if net.kind == "add" else net(x) * 3
        return y * net.table["k"]

    def rename() -> None:
        net.kind = "mul"

    def refill() -> None:
        net.table = {"k": 5.0}

    log = changing(f, rename, refill)
    assert "Linear.kind changed from 'add' to 'mul'" in log[1]
    assert "Linear.table changed" in log[2] and len(log) == 3


def test_a_container_of_a_module_is_changed_in_place() -> None:
    net: Any = nn.Linear(4, 4)
    net.scales = [1.0, 2.0]

    def f(x: gm.Tensor) -> gm.Tensor:
        return net(x) * sum(net.scales)

    changing(f, lambda: net.scales.append(4.0))


def test_hooks() -> None:
    net: Any = nn.Linear(4, 4)
    handle: list[Any] = []

    def f(x: gm.Tensor) -> gm.Tensor:
        return net(x)

    def add() -> None:
        handle.append(net.register_forward_hook(lambda module, args, out: out * 2))

    log = changing(f, add, lambda: handle[0].remove())
    assert len(log) >= 2


def test_bias_removed_and_put_back() -> None:
    net: Any = nn.Linear(4, 4)
    kept = net.bias

    def f(x: gm.Tensor) -> gm.Tensor:
        return net(x)

    def remove() -> None:
        net.bias = None

    def restore() -> None:
        net.bias = kept

    log = changing(f, remove, restore)
    assert len(log) == 2 and "Linear.bias changed from a Parameter to None" in log[1]


def test_buffers_replaced_by_the_same_kind_keep_the_variant() -> None:
    net: Any = nn.Module()
    net.register_buffer("h", draw(4, 4))

    def f(x: gm.Tensor) -> gm.Tensor:
        return x * net.h

    def replace() -> None:
        net.h = draw(4, 4, seed=3)

    def transpose() -> None:
        net.h = draw(4, 4, seed=4).t()

    assert len(changing(f, replace)) == 1
    assert len(changing(f, transpose)) == 2


def test_optimizer_options() -> None:
    net, opt = network(optim.SGD, lr=0.1)
    step = gm.compile(training(net, opt))
    twin, twin_opt = network(optim.SGD, lr=0.1)
    eager = training(twin, twin_opt)
    changes = [
        {},
        {"lr": 0.05},
        {"weight_decay": 0.01},
        {"weight_decay": 0.02},
        {"lr": 0.01},
        {"maximize": True},
    ]
    for change in changes:
        opt.param_groups[0].update(change)
        for key, v in change.items():
            opt.param_groups[0][key] = v
            twin_opt.param_groups[0][key] = v
        for _ in range(2):
            want, found = eager(draw(8, 4), draw(8, 2)).item(), step(draw(8, 4), draw(8, 2)).item()
            assert found == pytest.approx(want, rel=1e-4)
    assert len(step.log) == 3
    assert "ParamGroup.weight_decay changed from int to float" in step.log[1]
    assert "maximize changed from False to True" in step.log[2]


def test_grad_cleared_or_not() -> None:
    w = draw(3).requires_grad_()

    @gm.compile
    def step() -> gm.Tensor:
        loss = (w * w).sum()
        loss.backward()
        return loss

    for clear in (True, False, False, True, True, False):
        if clear:
            w.grad = None
        before = np.zeros(3) if w.grad is None else numbers(w.grad)
        step()
        np.testing.assert_allclose(numbers(w.grad), before + 2 * numbers(w), rtol=1e-6)
    assert len(step.log) == 2


def test_grad_is_exchanged() -> None:
    w = draw(3).requires_grad_()
    f = gm.compile(lambda x: x * w.grad)
    for seed in range(4):
        w.grad = draw(3, seed=seed)
        assert np.array_equal(numbers(f(draw(3))), numbers(draw(3)) * numbers(draw(3, seed=seed)))
    assert len(f.log) == 1


def test_children_swapped_added_and_removed() -> None:
    net: Any = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    spare = nn.Linear(4, 4)

    def f(x: gm.Tensor) -> gm.Tensor:
        return net(x)

    def swap() -> None:
        net[0], net[2] = net[2], net[0]

    def double() -> None:
        net.append(net[0])

    def drop() -> None:
        del net[1]

    def share() -> None:
        net[0].weight = spare.weight

    log = changing(f, swap, double, drop, share, lambda: net.add_module("1", spare))
    assert len(log) == 6
    assert "Sequential.0 changed from a Linear to a Linear" in log[1]


def test_a_config_object_of_a_module_is_changed() -> None:
    class Config:
        width = 1.0

    class Net(nn.Module):
        scales = [1.0, 2.0]  # noqa: RUF012 (shared by all, as written)

        def __init__(self) -> None:
            super().__init__()
            self.config, self._table, self.array = Config(), {"k": 1.0}, np.ones(4, np.float32)
            self.config.width = 2.0

        def forward(self, x: gm.Tensor) -> gm.Tensor:
            return x * self.config.width * self._table["k"] + self.scales[1] + self.array

    net = Net()

    def f(x: gm.Tensor) -> gm.Tensor:
        return net(x)

    def widen() -> None:
        net.config.width = 3.0

    def refill() -> None:
        net._table["k"] = 4.0

    def rescale() -> None:
        Net.scales[1] = 9.0

    def shift() -> None:
        net.array += 1

    assert len(changing(f, widen, refill, rescale, shift)) == 5


def test_a_module_list_is_appended_to_in_the_trace() -> None:
    net: Any = nn.Linear(4, 4)
    net.seen = []

    def f(x: gm.Tensor) -> gm.Tensor:
        net.seen.append(1.0)
        return net(x)

    with pytest.raises(gm.TraceError, match=r"Linear\.seen was changed by the traced function"):
        gm.compile(f)(draw(4, 4))
    assert net.seen == []


# ---- containers of optimizers ----


def rebuilt(opt: Any) -> None:
    groups = list(opt.param_groups)
    opt.param_groups.clear()
    opt.param_groups.extend(groups[:1])


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "update": lambda opt: opt.param_groups[0].update(maximize=True),
    "or": lambda opt: opt.param_groups[0].__ior__({"maximize": True}),
    "pop a parameter": lambda opt: opt.param_groups[0]["params"].pop(),
    "delete parameters": lambda opt: opt.param_groups[0]["params"].__delitem__(slice(0, 2)),
    "replace parameters": lambda opt: opt.param_groups[0].update(
        params=opt.param_groups[0]["params"][:1]
    ),
    "pop a group": lambda opt: opt.param_groups.pop(),
    "set a group": lambda opt: opt.param_groups.__setitem__(0, opt.param_groups[1]),
    "clear groups": rebuilt,
    "clear state": lambda opt: opt.state.clear(),
    "delete state": lambda opt: opt.state.__delitem__(opt.param_groups[0]["params"][0]),
    "pop state": lambda opt: opt.state.pop(opt.param_groups[0]["params"][0]),
    "clear an entry": lambda opt: opt.state[opt.param_groups[0]["params"][0]].clear(),
    "replace a buffer": lambda opt: opt.state[opt.param_groups[0]["params"][0]].update(
        momentum_buffer=gm.ones(8, 4)
    ),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_containers_of_an_optimizer(case: str) -> None:
    found = []
    for wrap in (lambda f: f, gm.compile):
        gm.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        groups = [{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.05}]
        opt = optim.SGD(groups, lr=0.1, momentum=0.9)
        step = wrap(training(net, opt))
        for i in range(8):
            if i == 4:
                CONTAINERS[case](opt)
            step(draw(8, 4), draw(8, 2))
        found.append(np.concatenate([numbers(p).ravel() for p in net.parameters()]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
    assert len(step.log) == (1 if case == "replace a buffer" else 2)


def test_the_default_dtype() -> None:
    f = gm.compile(lambda x: x + gm.zeros(3))
    for dtype in (gm.float32, gm.float64, gm.float64, gm.float32):
        gm.set_default_dtype(dtype)
        try:
            for _ in range(4):
                assert f(draw(3)).dtype is dtype
        finally:
            gm.set_default_dtype(gm.float32)
    assert "the default dtype changed" in f.log[1]


def test_the_order_of_dicts() -> None:
    def difference(t: Any) -> Any:
        a, b = t.values()
        return a - b

    def named(**t: Any) -> Any:
        return difference(t)

    a, b = draw(3), draw(3, seed=1)
    f, g = gm.compile(difference), gm.compile(named)
    for _ in range(2):
        for t in ({"a": a, "b": b}, {"b": b, "a": a}):
            for _ in range(4):
                assert np.array_equal(numbers(f(t)), numbers(difference(t)))
                assert np.array_equal(numbers(g(**t)), numbers(difference(t)))
    assert len(f.log) == len(g.log) == 2
