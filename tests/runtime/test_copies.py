"""Copies and pickles of tensors, modules and optimizers: own memory, ties kept, training goes on the same."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gristmill as gm
from gristmill import nn, optim


def pickled(x: Any) -> Any:
    return pickle.loads(pickle.dumps(x))


BOTH = pytest.mark.parametrize("again", [copy.deepcopy, pickled])
DTYPES = [gm.bool, gm.int8, gm.float16, gm.bfloat16, gm.float32, gm.complex64]


class Named(gm.Tensor):
    """A class of a user's own, with attributes."""


@BOTH
@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
def test_tensors(again: Any, dtype: Any) -> None:
    x = gm.tensor([[1, 0, 2], [3, 4, 5]]).to(dtype).t()[1:]
    y = again(x)
    assert type(y) is gm.Tensor and y.dtype is dtype and y.shape == (2, 2) and repr(y) == repr(x)
    y[0, 0] = 1
    assert not gm.equal(x, y) and not y.requires_grad


@BOTH
def test_leaves_classes_and_ties(again: Any) -> None:
    p = nn.Parameter(gm.ones(2))
    frozen, transient = nn.Parameter(gm.ones(2), False), nn.Buffer(gm.ones(2), persistent=False)
    leaf, own = gm.ones(2, requires_grad=True), Named(gm.ones(2)._storage)
    own.name = ["own"]
    a, b, c, d, e, f = again([p, p, frozen, transient, leaf, own])
    assert a is b and type(a) is type(c) is nn.Parameter and type(d) is nn.Buffer
    assert (a.requires_grad, c.requires_grad, e.requires_grad) == (True, False, True)
    assert a.is_leaf and d.persistent is False
    assert type(f) is Named and f.name == ["own"] and f.name is not own.name


def test_a_copy_has_a_gradient_of_its_own() -> None:
    x = gm.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    y = copy.deepcopy(x)
    assert y.grad.tolist() == [3, 3] and y.grad is not x.grad and pickled(x).grad is None
    assert copy.deepcopy((x, x.grad))[1].tolist() == [3, 3]
    with pytest.raises(gm.GradError, match="no leaf"):
        copy.deepcopy(x * 2)


def test_a_shallow_copy_shares_memory() -> None:
    x, buffer = gm.ones(2, requires_grad=True), nn.Buffer(gm.ones(2), persistent=False)
    y, z = copy.copy(x), copy.copy(x * 2)
    (y * z).sum().backward()
    assert y.is_leaf and y.grad.tolist() == [2, 2] and x.grad.tolist() == [2, 2]
    y.detach()[0] = 5
    assert x.tolist() == [5, 1] and copy.copy(buffer).persistent is False
    assert gm.compile(lambda x: copy.copy(x * 2)[0])(gm.ones(2)).item() == 2


def model() -> tuple[Any, Any]:
    gm.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(3, 3),
        nn.ReLU(),
        nn.Linear(3, 3),
    )
    net[2].weight = net[0].weight
    return net, optim.Adam(net.parameters(), lr=0.1)


def train(net: Any, opt: Any, compiled: bool = False) -> list[Any]:
    def step(x: gm.Tensor) -> gm.Tensor:
        opt.zero_grad()
        loss = (net(x) ** 2).sum()
        loss.backward()
        opt.step()
        return loss

    run = gm.compile(step) if compiled else step
    x = gm.tensor([[1.0, 2.0, 3.0], [0.5, 0.1, -1.0]])
    return [run(x).item() for _ in range(3)]


@BOTH
@pytest.mark.parametrize("compiled", [False, True])
def test_training_goes_on_the_same(again: Any, compiled: bool) -> None:
    net, opt = model()
    train(net, opt, compiled)
    other, its = again((net, opt))
    assert other[2].weight is other[0].weight is its.param_groups[0]["params"][0]
    assert set(map(id, its.state)) == set(map(id, other.parameters()))
    kept = [p.tolist() for p in net.parameters()]
    found = train(other, its, compiled)
    assert [p.tolist() for p in net.parameters()] == kept
    assert found == train(net, opt, compiled)


@BOTH
def test_an_optimizer_alone_has_parameters_of_its_own(again: Any) -> None:
    p = gm.tensor([1.0], requires_grad=True)
    opt = optim.SGD([p], lr=0.5, momentum=0.9)
    p.grad = gm.ones(1)
    opt.step()
    other = again(opt)
    q = other.param_groups[0]["params"][0]
    q.grad = gm.ones(1)
    other.step()
    assert (p.item(), q.item()) == pytest.approx((0.5, -0.45)) and repr(other) == repr(opt)


@BOTH
def test_a_schedule_with_its_optimizer(again: Any) -> None:
    opt = optim.SGD([gm.ones(1, requires_grad=True)], lr=1.0)
    its, schedule = again((opt, optim.lr_scheduler.ExponentialLR(opt, 0.5)))
    schedule.step()
    assert its is schedule.optimizer and its.param_groups[0]["lr"] == 0.5
    assert opt.param_groups[0]["lr"] == 1.0


def test_modules_and_generators() -> None:
    module = pickled(nn.Linear(4, 4))
    assert module(gm.ones(2, 4)).shape == (2, 4) and module.weight.requires_grad
    g = gm.Generator().manual_seed(3)
    gm.rand(2, generator=g)
    assert gm.rand(2, generator=pickled(g)).tolist() == gm.rand(2, generator=g).tolist()
    assert type(pickled(gm.ones(2).shape)) is gm.Size
    np.testing.assert_array_equal(pickled(gm.arange(3)).numpy(), [0, 1, 2])
