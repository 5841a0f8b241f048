"""Trees of arguments and results: structure keys, leaves, and rebuilding them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from compiled_programs import draw, numbers

import gristmill as gm
from gristmill import nn
from gristmill.frontend.tree import flatten, rebuild


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass
class Output:
    logits: Any
    loss: Any = None


def structure(x: Any) -> tuple[Any, list[Any]]:
    leaves: list[Any] = []
    return flatten(x, leaves), leaves


def test_leaves_in_order() -> None:
    t = draw(2)
    _, leaves = structure(([1, t], {"k": 2.0, "t": (t, None)}, "text", True, Pair(3, t)))
    assert [x if not isinstance(x, gm.Tensor) else "t" for x in leaves] == [
        1,
        "t",
        2.0,
        "t",
        3,
        "t",
    ]


@pytest.mark.parametrize("a, b", [
    ([1], (1,)), ("a", "b"), (True, False), (True, 1), (1, 1.0), (None, 0), ({"a": 1}, {"b": 1}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (Pair(1, 2), (1, 2)), ([1, [2]], [1, 2]), (1j, 2j), (b"a", "a"),
    ({"a": 1}, OrderedDict(a=1)), (Output(1), Output(1)),
])  # fmt: skip
def test_different_structures(a: Any, b: Any) -> None:
    assert structure(a)[0] != structure(b)[0]
    assert structure(a)[0] == structure(a)[0]
    assert hash(structure(a)[0]) is not None


def test_values_of_numbers_are_not_structure() -> None:
    assert structure([1, 2.5])[0] == structure([7, 0.5])[0]


def test_rebuild_is_the_inverse() -> None:
    x = ([1, 2.0], {"k": (draw(2), None, "s")}, Pair(3, [4]))
    _, leaves = structure(x)
    each = iter(leaves)
    again = rebuild(x, lambda _: next(each))
    assert again[0] == x[0] and again[2] == x[2] and type(again[2]) is Pair
    assert again[1]["k"][0] is x[1]["k"][0]


def test_results_of_every_kind() -> None:
    def f(x: gm.Tensor) -> Any:
        return Pair(x * 2, [x + 1, {"n": None, "s": "text"}]), Output(x - 1, (x * x).sum()), 3, 2.5

    compiled = gm.compile(f)
    for _ in range(3):
        pair, output, three, number = compiled(draw(3))
        want = f(draw(3))
        assert type(pair) is Pair and type(output) is Output
        assert np.array_equal(numbers(pair.a), numbers(want[0].a))
        assert np.array_equal(numbers(pair.b[0]), numbers(want[0].b[0])) and pair.b[1] == {
            "n": None,
            "s": "text",
        }
        np.testing.assert_allclose(numbers(output.loss), numbers(want[1].loss), rtol=1e-6)
        assert (three, number) == (3, 2.5)


def test_arguments_of_every_kind() -> None:
    def f(items: Any, *, flag: bool, mode: str, out: Any) -> Any:
        x = items["x"][0] * (2 if flag else 3)
        x = x + 1 if mode == "add" else x - 1
        return x * out.logits

    compiled = gm.compile(f)
    output = Output(draw(3, seed=2))
    for flag in (True, False):
        for mode in ("add", "sub"):
            for _ in range(3):
                given = {"items": {"x": [draw(3)]}, "flag": flag, "mode": mode, "out": output}
                assert np.array_equal(numbers(compiled(**given)), numbers(f(**given)))
    assert len(compiled.log) == 4


def test_arrays_are_tensors_without_a_copy() -> None:
    compiled = gm.compile(lambda x: x.add_(1.0))
    for a in (
        np.zeros((2, 3), np.float32),
        np.zeros((3, 2), np.float32).T,
        np.zeros(8, np.float32)[::2],
    ):
        for _ in range(2):
            compiled(a)
        assert (a == 2).all()


def test_a_module_as_argument() -> None:
    def f(net: nn.Module, x: gm.Tensor) -> Any:
        return net(x)

    compiled = gm.compile(f)
    nets = [nn.Linear(3, 2), nn.Linear(3, 2)]
    for net in nets * 2:
        np.testing.assert_allclose(
            numbers(compiled(net, draw(4, 3))), numbers(net(draw(4, 3))), rtol=1e-5, atol=1e-6
        )
    assert len(compiled.log) == 2


def test_an_argument_container_is_changed() -> None:
    def f(batch: dict[str, Any]) -> Any:
        batch["y"] = batch["x"] * 2
        return batch["y"]

    batch = {"x": draw(3)}
    with pytest.raises(gm.TraceError, match="changed a container among its arguments"):
        gm.compile(f)(batch)
    assert list(batch) == ["x"]


def test_numpy_scalars_are_numbers() -> None:
    f = gm.compile(lambda x, k: x * k)
    for k in (np.float32(0.5), np.float64(2.0), np.float32(3.0)):
        np.testing.assert_allclose(numbers(f(draw(3), k)), numbers(draw(3)) * np.float32(k))
    assert len(f.log) == 1


def test_values_made_anew_for_each_call() -> None:
    f = gm.compile(lambda x, g, r, s: g(x) * len(r) + len(s))
    for _ in range(4):
        found = f(draw(3), lambda t: t * 2, range(3), frozenset("ab"))
        np.testing.assert_allclose(numbers(found), numbers(draw(3)) * 6 + 2, rtol=1e-6)
    assert len(f.log) == 1


def test_an_array_many_times() -> None:
    f, a = gm.compile(lambda x: (x * 2, x)), np.ones(3, np.float32)
    for _ in range(4):
        twice, same = f(a)
        assert twice.tolist() == [2.0] * 3 and np.shares_memory(same.numpy(), a)


@dataclass
class Derived:
    """A dataclass with a field that ``__init__`` does not take."""

    x: gm.Tensor
    scale: float = field(init=False, default=1.0)


def test_fields_that_init_does_not_take() -> None:
    c = Derived(gm.ones(2))
    f = gm.compile(lambda c: c.x * c.scale)
    for scale in (3.0, 3.0, 3.0, 4.0, 1.0):
        c.scale = scale
        assert f(c).tolist() == [scale] * 2
