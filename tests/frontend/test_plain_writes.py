"""What a function does to plain objects from outside is refused and put back; what is born inside is its own."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from compiled_programs import draw, follows, numbers

import gristmill as gm

RATE = 2.0


class Box:
    """A plain object."""

    def __init__(self, k: Any = 2.0) -> None:
        self.k = k


def scaled(x: Any, c: Any) -> Any:
    return x * c.k


def write_flag(box: Any, x: Any) -> None:
    box.flag = 1


def write_size(box: Any, x: Any) -> None:
    c = box
    c.n = x.shape[0]


def write_twice(box: Any, x: Any) -> None:
    box.k = box.k + 1
    box.k = 9.0


def delete(box: Any, x: Any) -> None:
    del box.k


@pytest.mark.parametrize("write", [write_flag, write_size, write_twice, delete])
@pytest.mark.parametrize("fails", [False, True])
def test_writes_are_refused_and_put_back(write: Any, fails: bool) -> None:
    box = Box()

    def f(x: Any) -> Any:
        write(box, x)
        if fails:
            raise ZeroDivisionError
        return x * 2

    before, hooks = dict(vars(box)), set(vars(Box))
    with pytest.raises(
        ZeroDivisionError if fails else gm.TraceError,
        match=None if fails else r"Box\.\w+ was changed by the traced function",
    ):
        gm.compile(f)(draw(3))
    assert vars(box) == before
    assert set(vars(Box)) == hooks


def test_objects_born_inside_may_be_written() -> None:
    def f(x: Any) -> Any:
        box = Box()
        box.k = 3.0
        box.flag = x * 2  # type: ignore[attr-defined]
        return scaled(box.flag, box)  # type: ignore[attr-defined]

    compiled = gm.compile(f)
    for _ in range(4):
        np.testing.assert_array_equal(numbers(compiled(draw(3))), numbers(f(draw(3))))
    assert len(compiled.log) == 1


def test_objects_born_inside_read_their_class() -> None:
    class Act:
        slope, inner = 2.0, Box()

        def rate(self) -> float:
            return self.slope * RATE * self.inner.k

    def f(x: Any) -> Any:
        return x * Act().rate()

    follows(f, lambda: setattr(Act, "slope", 5.0))
    follows(f, lambda: setattr(Act.inner, "k", 5.0))
    follows(f, lambda: globals().update(RATE=11.0))
    follows(f, lambda: setattr(Act, "rate", lambda self: 3.0))


def test_a_write_that_is_undone_is_none() -> None:
    box = Box()

    def f(x: Any) -> Any:
        box.k = 7.0
        y = scaled(x, box)
        box.k = 2.0
        return y

    compiled = gm.compile(f)
    for _ in range(4):
        np.testing.assert_array_equal(numbers(compiled(draw(3))), numbers(draw(3) * 7.0))
    assert len(compiled.log) == 1


# ---- what is used up ----


@pytest.mark.parametrize(
    "made",
    [
        lambda: iter([1.0, 2.0, 3.0]),
        lambda: zip([1.0, 2.0], [1.0, 2.0], strict=True),
        lambda: (float(i) for i in range(5)),
    ],
)
def test_iterators_are_refused(made: Any) -> None:
    it = made()
    with pytest.raises(gm.TraceError, match=r"draws from a .* made outside of it"):
        gm.compile(lambda x: (x * 2, next(it))[0])(draw(3))


def test_random_generators_are_refused_and_put_back() -> None:
    rng, old, numpy = random.Random(0), np.random.RandomState(0), np.random.default_rng(0)
    for draws in (rng.random, old.rand, numpy.random):
        with pytest.raises(gm.TraceError, match=r"draws from a .* made outside of it"):
            gm.compile(lambda x, draws=draws: x * draws())(draw(3))
    assert rng.random() == random.Random(0).random()
    assert old.rand() == np.random.RandomState(0).rand()
    assert numpy.random() == np.random.default_rng(0).random()


def test_an_iterator_that_is_not_drawn_from() -> None:
    box = Box(iter([1.0, 2.0]))
    follows(lambda x: x if box.k is None else x * 2, lambda: setattr(box, "k", None))
