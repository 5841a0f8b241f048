"""Derivatives as functions of functions, in the sense of JAX: ``grad``, ``value_and_grad``, ``vjp``.

They use the same derivative rules as ``.backward()`` and leave ``.grad`` alone; inside a compiled function they are
traced like everything else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..ir.errors import GradError
from ..ir.source import caller, explain
from . import autograd
from .functions.shape import detach
from .state import state
from .tensor import Tensor
from .tree import flatten, rebuild


def grad(
    func: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that gives the gradient of a scalar function with respect to arguments ``argnums``.

    An argument may be a tensor or a tree of tensors; the gradient has its structure. With ``has_aux`` the function
    returns (value, anything), and the result is (gradient, anything).

    >>> import gristmill as gm
    >>> from gristmill.func import grad
    >>> grad(lambda x: (x * x).sum())(gm.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """
    both = value_and_grad(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def value_and_grad(
    func: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """As ``grad``, with the value: (value, gradient).

    >>> import gristmill as gm
    >>> from gristmill.func import value_and_grad
    >>> value_and_grad(lambda x: x * x)(gm.tensor(3.0))
    (tensor(9.), tensor(6.))
    """

    @functools.wraps(func)
    def both(*args: Any, **kwargs: Any) -> Any:
        places = _places(argnums, len(args))
        fresh, inputs = _tracked(args, places)
        record = _is_recorded([args[p] for p in places])
        with autograd.enable_grad(), _inside():
            result = func(*fresh, **kwargs)
        value = result[0] if has_aux else result
        _check_scalar(value)
        found = _pulled([value], [None], inputs, record)
        order = sorted(places)  # in which the arguments were tracked
        by_place = dict(zip(order, _like([args[p] for p in order], found), strict=True))
        out = by_place[places[0]] if isinstance(argnums, int) else tuple(map(by_place.get, places))
        return (result if record else rebuild(result, _plain)), out

    return both


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of a function and its pullback: ``(value, pull)``; ``pull(cotangents)`` gives one gradient per primal.

    >>> import gristmill as gm
    >>> from gristmill.func import vjp
    >>> value, pull = vjp(lambda x: x * x, gm.tensor([1.0, 2.0]))
    >>> pull(gm.tensor([1.0, 10.0]))
    (tensor([ 2., 40.]),)
    """
    fresh, inputs = _tracked(primals, range(len(primals)))
    record = _is_recorded(list(primals))
    with autograd.enable_grad(), _inside():
        result = func(*fresh)
    value, aux = result if has_aux else (result, None)
    outputs: list[Any] = []
    flatten(value, outputs)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        weights: list[Any] = []
        flatten(cotangents, weights)
        found = _pulled(outputs, weights, inputs, record, retain=True)
        return tuple(_like(list(primals), found))

    plain = value if record else rebuild(value, _plain)
    return (plain, pull, aux) if has_aux else (plain, pull)


@contextmanager
def _inside() -> Iterator[None]:
    """While a transformed function runs; a derivative taken inside is itself recorded."""
    state.transforms += 1
    try:
        yield
    finally:
        state.transforms -= 1


def _is_recorded(trees: Sequence[Any]) -> bool:
    """Whether a derivative is recorded: inside another transform, or of tensors that require grad."""
    leaves: list[Any] = []
    flatten(list(trees), leaves)
    return state.transforms > 0 or any(isinstance(x, Tensor) and x.requires_grad for x in leaves)


def _plain(x: Any) -> Any:
    return detach(x) if isinstance(x, Tensor) else x


def _places(argnums: int | Sequence[int], count: int) -> list[int]:
    """Which of ``count`` arguments are meant; negative numbers count from the end."""
    given = list(argnums) if isinstance(argnums, Sequence) else [argnums]
    if not all(isinstance(n, int) for n in given):
        raise TypeError(
            explain(f"argnums must be an int or a tuple of ints, not {argnums}", caller())
        )
    for n in given:
        if not -count <= n < count:
            raise ValueError(
                explain(
                    f"argnums names argument {n}, and the function got {count} positional arguments",
                    caller(),
                    "pass the argument by position, not by name",
                )
            )
    places = [n % count for n in given]
    if not places or len(set(places)) < len(places):
        raise ValueError(
            explain(f"argnums must name different arguments, at least one: {argnums}", caller())
        )
    return places


def _tracked(args: Sequence[Any], places: Sequence[int]) -> tuple[list[Any], list[Tensor]]:
    """The arguments with fresh leaves for the tensors of some of them."""
    inputs: list[Tensor] = []

    def leaf(x: Any) -> Any:
        if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
            raise GradError(
                explain(
                    f"a derivative is taken with respect to float tensors, not {_named(x)}",
                    caller(),
                )
            )
        own = x * 1 if x.requires_grad else detach(x).requires_grad_()
        inputs.append(own)
        return own

    return [rebuild(a, leaf) if i in places else a for i, a in enumerate(args)], inputs


def _named(x: Any) -> str:
    return str(x._type) if isinstance(x, Tensor) else type(x).__name__


def _check_scalar(value: Any) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise GradError(
            explain(
                f"grad: the function must return one number, not {_named(value)}",
                caller(),
                "reduce it with sum() or mean(), or use vjp",
            )
        )


def _pulled(
    outputs: Sequence[Tensor],
    weights: Sequence[Any],
    inputs: list[Tensor],
    create: bool,
    retain: bool = False,
) -> list[Tensor]:
    tracked = [
        (o, w)
        for o, w in zip(outputs, weights, strict=True)
        if isinstance(o, Tensor) and o.requires_grad
    ]
    if not tracked:
        return [x * 0 for x in map(detach, inputs)]
    outs, given = zip(*tracked, strict=True)
    plain = None if all(w is None for w in given) else list(given)
    found = autograd.grad(
        list(outs),
        inputs,
        plain,
        retain_graph=retain or create,
        create_graph=create,
        allow_unused=True,
    )
    return [detach(x) * 0 if g is None else g for g, x in zip(found, inputs, strict=True)]


def _like(args: list[Any], found: list[Tensor]) -> list[Any]:
    """Gradients in the structure of the arguments."""
    each = iter(found)
    return [rebuild(a, lambda _: next(each)) for a in args]
