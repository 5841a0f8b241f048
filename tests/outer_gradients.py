"""Programs whose functions are compiled and whose backward runs outside: what their tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gristmill as gm

CALLS = 5


def leaf(*numbers: float) -> gm.Tensor:
    return gm.tensor(list(numbers or (1.0, 2.0, 3.0)), requires_grad=True)


def seen(x: Any) -> Any:
    """What a test compares: numbers, or lists of them."""
    if isinstance(x, gm.Tensor):
        return x.detach().numpy().copy()
    return [seen(e) for e in x] if isinstance(x, list | tuple) else x


def observe(make: Callable[[Any], Callable[[], Any]], disable: bool) -> list[Any]:
    """What a program shows in each call, or the class and first words of its error."""
    gm.manual_seed(3)
    call = make(lambda f: gm.compile(f, disable=disable))
    out = []
    for _ in range(CALLS):
        try:
            out.append(seen(call()))
        except gm.GradError as error:
            out.append(str(error).split(":")[0].split(" made at")[0])
    return out


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b), (a, b)
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, np.ndarray):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    else:
        assert a == b


def check(make: Callable[[Any], Callable[[], Any]]) -> list[Any]:
    """Eager and compiled show the same; what they show."""
    eager, compiled = (observe(make, disable) for disable in (True, False))
    same(eager, compiled)
    return eager


def gradient(body: Callable[[gm.Tensor, gm.Tensor], gm.Tensor]) -> list[Any]:
    """The gradient of a captured ``w``, where ``body(w, x)`` is compiled and backward is not."""

    def make(comp: Any) -> Any:
        w = leaf()
        f = comp(lambda x: body(w, x))

        def call() -> Any:
            w.grad = None
            f(gm.tensor([1.0, 2.0, 3.0])).sum().backward()
            return w, w.grad

        return call

    return check(make)


def scaled(w: gm.Tensor) -> None:
    with gm.no_grad():
        w.mul_(0.5)
