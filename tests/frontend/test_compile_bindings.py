"""One executable for all instances of a class, freed with them; threads; what a compiled function keeps alive."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
from compiled_programs import assert_same, draw, network, numbers, training

import gristmill as gm
from gristmill import nn


class Layer(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(gm.full((3,), scale))

    @gm.compile
    def forward(self, x: gm.Tensor) -> gm.Tensor:
        return (x * self.weight).tanh()


class Plain:
    def __init__(self, scale: float) -> None:
        self.w = gm.full((3,), scale)

    @gm.compile
    def scaled(self, x: gm.Tensor) -> gm.Tensor:
        return x * self.w


def test_ten_instances_share_one_executable() -> None:
    layers = [Layer(float(i)) for i in range(10)]
    before = len(Layer.forward.variants)
    for layer in layers:
        for _ in range(3):
            want = np.tanh(numbers(draw(3)) * numbers(layer.weight))
            np.testing.assert_allclose(numbers(layer(draw(3))), want, rtol=1e-6)
    made = Layer.forward.variants[before:]
    assert len(made) == 10
    assert len({id(v.executable) for v in made}) == 1
    assert made[1].found["built"] == 0


def test_methods_of_plain_objects() -> None:
    a, b = Plain(2.0), Plain(3.0)
    for _ in range(3):
        assert a.scaled(gm.ones(3)).tolist() == [2.0] * 3
        assert b.scaled(gm.ones(3)).tolist() == [3.0] * 3
    assert "first call with this Plain" in Plain.scaled.log


def test_other_constants_share_nothing() -> None:
    def scaled(k: float) -> Any:
        return gm.compile(lambda x: x * gm.full((3,), k))

    signs = [np.signbit(numbers(scaled(k)(gm.ones(3)))).all() for k in (0.0, -0.0, 0.0)]
    assert signs == [False, True, False]


def test_an_instance_is_freed_with_what_was_compiled_for_it() -> None:
    for make in (Plain, Layer):
        x = make(5.0)
        for _ in range(3):
            x.scaled(gm.ones(3)) if make is Plain else x(gm.ones(3))
        function: Any = Plain.scaled if make is Plain else Layer.forward
        gc.collect()
        alive = len(function.variants)
        ref = weakref.ref(x)
        del x
        gc.collect()
        assert ref() is None
        assert len(function.variants) == alive - 1


def test_a_module_argument_is_freed() -> None:
    f = gm.compile(lambda net, x: net(x))
    for _ in range(3):
        net: Any = nn.Linear(3, 2)
        for _ in range(3):
            assert_same(numbers(net(draw(4, 3))), numbers(f(net, draw(4, 3))), "linear")
        ref = weakref.ref(net)
        del net
        gc.collect()
        assert ref() is None
    assert f.variants == []


def test_the_first_batch_is_freed() -> None:
    f = gm.compile(training(*network()))
    x = draw(8, 4)
    ref = weakref.ref(x)
    for _ in range(3):
        f(x, draw(8, 2))
    del x
    gc.collect()
    assert ref() is None


def test_a_copy_of_a_module_is_compiled_for_itself() -> None:
    a = Layer(2.0)
    a(gm.ones(3))
    b = copy.deepcopy(a)
    with gm.no_grad():
        b.weight.fill_(0.0)
    assert b(gm.ones(3)).tolist() == [0.0] * 3
    assert a(gm.ones(3)).tolist() != [0.0] * 3
    assert sorted(b.state_dict()) == ["weight"]


def test_changed_numbers_are_forgotten_with_their_module() -> None:
    for _ in range(20):  # a new module may get the address of an old one
        net: Any = nn.Linear(2, 2)
        net.k = 1.0
        f = gm.compile(lambda x, net=net: net(x) * net.k)
        f(draw(3, 2))
        net.k = 2.0
        f(draw(3, 2))
        net.k = 3.0
        f(draw(3, 2))
        assert len(f.log) == 2
        del net, f
        gc.collect()


def test_threads_share_a_function() -> None:
    f = gm.compile(lambda x: (x * 2 + 1).exp())
    g = gm.compile(lambda x, n: x * n)
    failed: list[str] = []

    def work(k: int) -> None:
        for i in range(50):
            x = draw(16, seed=k * 100 + i)
            want = np.exp(numbers(x) * 2 + 1)
            if not np.allclose(numbers(f(x)), want, rtol=1e-5) or not np.array_equal(
                numbers(g(x, float(k))), numbers(x) * np.float32(k)
            ):
                failed.append(f"{k} {i}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failed == []


def test_threads_add_to_one_tensor() -> None:
    total = gm.zeros(8)

    @gm.compile
    def add(x: gm.Tensor) -> None:
        total.add_(x)

    add(gm.zeros(8))

    def work() -> None:
        for _ in range(200):
            add(gm.ones(8))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert total.tolist() == [800.0] * 8


def test_a_module_is_used_while_another_thread_traces_it() -> None:
    """Its parameters are symbolic for that time: whoever meets them elsewhere waits."""
    net = nn.Linear(32, 32)
    want = numbers(net(gm.ones(2, 32)))
    failed: list[BaseException] = []
    done = threading.Event()

    def use() -> None:
        while not done.is_set():
            try:
                np.testing.assert_allclose(numbers(net(gm.ones(2, 32))), want, rtol=1e-5)
            except BaseException as error:  # (a thread's own would be lost)
                failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    user = threading.Thread(target=use)
    user.start()
    try:
        for n in range(2, 12):
            gm.compile(lambda x: net(x).tanh().sum())(gm.ones(n, 32))
    finally:
        sys.setswitchinterval(interval)
        done.set()
        user.join()
    assert not failed, failed[0]


@gm.compile
def doubled(x: gm.Tensor) -> gm.Tensor:
    return x * 2


class Holder(nn.Module):
    """A module that keeps a compiled method."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.run = gm.compile(self.plain)

    def plain(self, x: gm.Tensor) -> gm.Tensor:
        return self.layer(x) * 2


def test_copies_and_pickles() -> None:
    """A copy is compiled anew for what it holds; a decorated function is found by its name."""
    doubled(gm.ones(2))
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert copy.deepcopy(doubled)(gm.ones(2)).tolist() == [2, 2]
    net, x = Holder(), draw(2, 3)
    net.run(x)
    twin = copy.deepcopy(net)
    with gm.no_grad():
        twin.layer.weight.add_(1)
    for m in (net, twin):
        np.testing.assert_allclose(numbers(m.run(x)), numbers(m.plain(x)), rtol=1e-5)
    compiled = gm.compile(nn.Linear(3, 3))
    again = copy.deepcopy(compiled)
    assert type(again) is type(compiled)
    assert numbers(again(x)).tolist() == numbers(compiled(x)).tolist()


def test_threads_compile_over_one_tensor() -> None:
    shared, failed = gm.ones(8, 8), []

    def work(k: int) -> None:
        try:
            for i in range(8):
                f = gm.compile(lambda x, c=float(100 * k + i): (x * c).tanh().sum(0))
                f(shared), f(shared)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_another_thread_compiles() -> None:
    """The child finds no lock held by a thread that it does not have."""
    done = threading.Event()

    def compiling() -> None:
        k = 0.0
        while not done.is_set():
            k += 1
            gm.compile(lambda x, c=k: (x * c).tanh().softmax(-1) @ x)(gm.ones(5, 5))

    thread = threading.Thread(target=compiling)
    thread.start()
    try:
        for _ in range(3):
            time.sleep(0.02)
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                found = gm.compile(lambda x: (x * 3).sum(0))(gm.ones(4))
                os._exit(found.item() != 12)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()
