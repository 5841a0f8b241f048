"""Nasty programs about state: parameters, buffers, optimizers, attributes, random numbers, compiled calls that share."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from compiled_programs import BatchNorm1d, compare, draw, network, numbers, training

import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn, optim


def test_smaller_last_batch() -> None:
    f = gm.compile(training(*network()))
    for n in (8, 8, 5, 8, 5):
        f(draw(n, 4), draw(n, 2))
    assert len(f.log) == 2
    assert "f32[8, 4]" in f.log[-1] and "f32[5, 4]" in f.log[-1]


def test_train_eval_train() -> None:
    def make(comp: Any) -> Any:
        net = nn.Sequential(nn.Linear(4, 8), BatchNorm1d(8), nn.Dropout(0.5))
        f = comp(lambda x: net(x).sum())

        def call(i: int) -> float:
            net.train(i % 2 == 0)
            return f(draw(8, 4)).item()

        return call

    compare(make, [2])


def test_gradient_accumulation_over_calls() -> None:
    def make(comp: Any) -> Any:
        net, opt = network()

        def micro(x: gm.Tensor, y: gm.Tensor) -> gm.Tensor:
            loss = F.mse_loss(net(x), y)
            loss.backward()
            return loss

        def update() -> None:
            opt.step()
            opt.zero_grad()

        f, u = comp(micro), comp(update)

        def call(i: int) -> float:
            loss = f(draw(8, 4, seed=i), draw(8, 2)).item()
            if i % 3 == 2:
                u()
            return loss

        return call

    compare(make, [2, 1], 12)


def test_two_functions_share_a_model() -> None:
    def make(comp: Any) -> Any:
        net, opt = network(optim.Adam, lr=0.01)
        f, e = comp(training(net, opt)), comp(lambda x: net(x).sum())
        return lambda i: [f(draw(8, 4, seed=i), draw(8, 2)).item(), e(draw(3, 4)).item()]

    compare(make, [1, 1])


def test_tied_weights() -> None:
    def make(comp: Any) -> Any:
        w = nn.Parameter(draw(4, 4))
        a: Any = nn.Module()
        b: Any = nn.Module()
        a.w = b.w = w
        opt = optim.SGD([w], lr=0.1)

        def step(x: gm.Tensor) -> gm.Tensor:
            opt.zero_grad()
            loss = ((x @ a.w).tanh() @ b.w).sum()
            loss.backward()
            opt.step()
            return loss

        f = comp(step)
        return lambda i: [f(draw(8, 4)).item(), numbers(b.w).sum()]

    compare(make, [1])


def test_random_stream() -> None:
    def make(comp: Any) -> Any:
        f = comp(lambda x: x + gm.rand(5) * gm.rand(3, 5).sum(0))
        return lambda i: [numbers(f(draw(5))), numbers(gm.rand(5))]

    compare(make, [1])


def test_recurrent_state_on_self() -> None:
    def make(comp: Any) -> Any:
        net: Any = nn.Linear(4, 4)
        net.h = None

        def f(x: gm.Tensor) -> gm.Tensor:
            net.h = (net(x) if net.h is None else net(x) + net.h).tanh().detach()
            return net.h

        c = comp(f)
        return lambda i: numbers(c(draw(2, 4)))

    compare(make, [2])


def test_recurrent_state_kept_by_user() -> None:
    def make(comp: Any) -> Any:
        net: Any = nn.Linear(4, 4)
        net.h = gm.zeros(2, 4)
        kept = []

        def f(x: gm.Tensor) -> gm.Tensor:
            net.h = (net(x) + net.h).tanh().detach()
            return net.h.sum()

        c = comp(f)

        def call(i: int) -> list[float]:
            kept.append(net.h)
            r = c(draw(2, 4)).item()
            if i == 3:
                kept.clear()
            return [r, numbers(kept[0]).sum() if kept else 0.0]

        return call

    compare(make, [2])


def test_swap_two_buffers() -> None:
    def make(comp: Any) -> Any:
        a, b = draw(3), draw(3, seed=1)

        def f() -> None:
            t = a + 0.0
            a.copy_(b)
            b.copy_(t)

        c = comp(f)

        def call(i: int) -> np.ndarray:
            c()
            return numbers(a) - numbers(b)

        return call

    compare(make, [1])


def test_weights_loaded_in_place() -> None:
    net, _ = network()
    f = gm.compile(lambda x: net(x))
    f(draw(3, 4))
    net[0].weight.data.copy_(draw(8, 4, seed=9))
    np.testing.assert_allclose(numbers(f(draw(3, 4))), numbers(net(draw(3, 4))), rtol=1e-5)
    assert len(f.log) == 1


def test_data_replaced() -> None:
    net, _ = network()
    f = gm.compile(lambda x: net(x))
    f(draw(3, 4))
    net[0].weight.data = draw(8, 4, seed=9)
    np.testing.assert_allclose(numbers(f(draw(3, 4))), numbers(net(draw(3, 4))), rtol=1e-5)
    assert "memory or requires_grad of Linear.weight changed" in f.log[-1]


def test_layer_frozen() -> None:
    net, opt = network()
    f = gm.compile(training(net, opt))
    f(draw(8, 4), draw(8, 2))
    net[0].weight.requires_grad_(False)
    net[0].weight.grad = None
    old = numbers(net[0].weight)
    f(draw(8, 4), draw(8, 2))
    assert np.array_equal(old, numbers(net[0].weight))
    assert "ParamGroup.params changed" in f.log[-1]


def test_layer_replaced_in_a_list() -> None:
    net, _ = network()
    f = gm.compile(lambda x: net(x))
    f(draw(3, 4))
    net[0] = nn.Linear(4, 8)
    np.testing.assert_allclose(numbers(f(draw(3, 4))), numbers(net(draw(3, 4))), rtol=1e-5)
    assert len(f.log) == 2


def test_attribute_deleted() -> None:
    net: Any = nn.Linear(2, 2)
    net.h = draw(2)

    def f(x: gm.Tensor) -> gm.Tensor:
        y = x + net.h
        del net.h
        return y

    gm.compile(f)(draw(2))
    assert not hasattr(net, "h")


def test_optimizer_state_made_lazily() -> None:
    def make(comp: Any) -> Any:
        net, opt = network(optim.SGD, lr=0.1, momentum=0.9)
        f = comp(training(net, opt))
        return lambda i: f(draw(8, 4, seed=i), draw(8, 2)).item()

    compare(make, [1])


def test_zero_grad_outside() -> None:
    def make(comp: Any) -> Any:
        net, opt = network()

        def step(x: gm.Tensor) -> gm.Tensor:
            loss = net(x).sum()
            loss.backward()
            opt.step()
            return loss

        f = comp(step)

        def call(i: int) -> float:
            opt.zero_grad()
            return f(draw(8, 4)).item()

        return call

    compare(make, [1])


def test_attribute_also_reached_by_closure() -> None:
    def make(comp: Any) -> Any:
        net: Any = nn.Linear(3, 3)
        buf = gm.zeros(3)
        net.buf = buf

        def f(x: gm.Tensor) -> gm.Tensor:
            net.buf += x
            return buf * 2.0

        c = comp(f)
        return lambda i: [numbers(c(draw(3))), numbers(buf)]

    compare(make, [1])


def test_one_tensor_under_two_attributes() -> None:
    def make(comp: Any) -> Any:
        net: Any = nn.Linear(3, 3)
        net.a = net.b = gm.zeros(3)

        def f(x: gm.Tensor) -> gm.Tensor:
            net.a += x
            r = net.b * 2.0
            net.a = net.b = r + 1.0
            return r

        c = comp(f)
        return lambda i: [numbers(c(draw(3))), net.a is net.b]

    compare(make, [1])


def test_parameters_added_to_the_optimizer() -> None:
    net, opt = network()
    extra = gm.tensor([1.0, 2.0], requires_grad=True)

    def step(x: gm.Tensor) -> gm.Tensor:
        opt.zero_grad()
        extra.grad = None
        loss = net(x).sum() + (extra * extra).sum()
        loss.backward()
        opt.step()
        return loss

    f = gm.compile(step)
    f(draw(8, 4))
    opt.add_param_group({"params": [extra]})
    f(draw(8, 4))
    np.testing.assert_allclose(numbers(extra), [0.8, 1.6], rtol=1e-6)
    assert len(f.log) == 2


def test_exception_in_mid_trace() -> None:
    net, opt = network()
    net.insert(1, BatchNorm1d(8))
    watched = (net[0].weight, net[1].running_mean)
    before = [numbers(t) for t in watched]

    def bad(x: gm.Tensor) -> None:
        net(x).sum().backward()
        net.h = x
        opt.step()
        raise KeyError("user")

    with pytest.raises(KeyError, match="user"):
        gm.compile(bad)(draw(8, 4))
    for old, t in zip(before, watched, strict=True):
        assert np.array_equal(old, numbers(t))
    assert net[0].weight.grad is None and not hasattr(net, "h")
    loss = net(draw(8, 4)).sum()
    loss.backward()
    assert np.isfinite(loss.item())


def test_exception_in_mid_run() -> None:
    net, opt = network(optim.SGD, lr=0.1, momentum=0.9)
    net.append(BatchNorm1d(2))

    def step(x: gm.Tensor, y: gm.Tensor) -> gm.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    f = gm.compile(step)
    f(draw(8, 4), gm.tensor([0, 1] * 4))

    def look() -> list[np.ndarray]:
        return [numbers(t) for t in (*net.parameters(), net[-1].running_mean, net[0].weight.grad)]

    before = look()
    with pytest.raises(IndexError):
        f(draw(8, 4), gm.tensor([0, 9] * 4))
    for old, now in zip(before, look(), strict=True):
        assert np.array_equal(old, now)


def test_compiled_function_is_freed() -> None:
    f = gm.compile(training(*network()))
    f(draw(8, 4), draw(8, 2))
    ref = weakref.ref(f)
    del f
    gc.collect()
    assert ref() is None


def test_attributes_that_hold_tensors_in_containers() -> None:
    net = gm.nn.Module()
    net.history, net.named = [gm.zeros(2)], {"a": gm.zeros(2)}

    @gm.compile
    def f(x: gm.Tensor) -> gm.Tensor:
        net.history = [net.history[0] + x]
        net.named = {"a": net.named["a"] * 2 + x}
        return x

    for k in range(1, 6):
        f(gm.ones(2))
        assert net.history[0].tolist() == [k] * 2
        assert net.named["a"].tolist() == [2.0**k - 1] * 2
