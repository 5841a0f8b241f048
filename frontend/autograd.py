"""Backward: differentiate what was recorded, eagerly or inside a trace by the same lines, and add up gradients."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Sequence
from typing import Any

from ..ir.errors import GradError, ShapeError
from ..ir.graph import Node, Value, current
from ..ir.op import OPS
from ..ir.source import Site, caller, explain
from ..passes.differentiate import differentiate
from .pullback import CompiledCall
from .state import state
from .tensor import Tensor, grad_mode, value_of, wrap


class _Mode:
    """A grad mode as a ``with`` block, which may be entered again inside itself, or as a decorator."""

    mode = True

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __call__(self, func: Any) -> Any:
        """The function with its calls in this mode; of a generator all that runs inside of it."""
        if inspect.isgeneratorfunction(func):

            @functools.wraps(func)
            def steps(*args: Any, **kwargs: Any) -> Any:
                return _stepped(func(*args, **kwargs), self.mode)

            return steps

        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with grad_mode(self.mode):
                return func(*args, **kwargs)

        return inside

    def __enter__(self) -> None:
        self.before.append(state.grad_enabled)
        state.grad_enabled = self.mode

    def __exit__(self, *_: object) -> None:
        state.grad_enabled = self.before.pop()


def _stepped(steps: Generator[Any, Any, Any], mode: bool) -> Generator[Any, Any, Any]:
    """A generator whose own code runs in a mode, while the code between its steps keeps its own."""
    move: Callable[..., Any] = steps.send
    given: Any = None
    while True:
        try:
            with grad_mode(mode):
                out = move(given)
        except StopIteration as end:
            return end.value
        try:
            given = yield out
            move = steps.send
        except GeneratorExit:
            with grad_mode(mode):
                steps.close()
            raise
        except BaseException as error:
            move, given = steps.throw, error


class set_grad_enabled(_Mode):
    """Record operations or not: as a call, a ``with`` block, or a decorator.

    >>> @set_grad_enabled(False)
    ... def f():
    ...     return is_grad_enabled()
    >>> f(), is_grad_enabled()
    (False, True)
    """

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"set_grad_enabled: mode must be a bool, not {type(mode).__name__}")
        self.mode = mode
        self.first = state.grad_enabled
        self.before = []
        state.grad_enabled = self.mode

    def __call__(self, func: Any) -> Any:
        """A decorator is no call: the mode of what follows is as it was."""
        state.grad_enabled = self.first
        return super().__call__(func)

    def __enter__(self) -> None:
        # The first block ends the mode that the call began; one inside it, only itself.
        self.before.append(state.grad_enabled if self.before else self.first)
        state.grad_enabled = self.mode


class _Bare(_Mode):
    """A mode whose class decorates a function as well: ``@no_grad`` is ``@no_grad()``."""

    def __new__(cls, func: Any = None) -> Any:
        """The mode, or the decorated function."""
        return super().__new__(cls) if func is None else cls()(func)

    def __init__(self, func: Any = None) -> None:
        super().__init__()


class no_grad(_Bare):
    """Operations inside are not recorded: ``with no_grad():``, ``@no_grad()`` or ``@no_grad``."""

    mode = False


class enable_grad(_Bare):
    """Operations inside are recorded, also within ``no_grad``."""


class inference_mode(_Mode):
    """As ``no_grad``."""

    def __new__(cls, mode: Any = True) -> Any:
        """The mode, or the decorated function."""
        return cls()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = not mode


def is_grad_enabled() -> bool:
    """Whether operations are recorded right now."""
    return state.grad_enabled


def backward(
    t: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add to ``.grad`` of every leaf the derivative of ``t`` (a single element, or weighted by ``gradient``)."""
    retain = create_graph if retain_graph is None else retain_graph
    found = pull(([t], [gradient]), None, retain, create_graph)
    with grad_mode(create_graph):
        for value, cotangent in found.items():
            _accumulate(value, cotangent, create_graph)


def _accumulate(value: Value, cotangent: Value, create_graph: bool) -> None:
    leaf = value.note.leaf if value.note is not None else None
    owner: Tensor | None = leaf() if leaf is not None else None
    if owner is None:
        if state.trace is not None and value.node.op.name == "input":
            raise GradError(
                explain(
                    f"backward in a traced function reaches a {value.type} whose history was made outside of it",
                    caller(),
                    "detach it, or trace what made it too",
                )
            )
        return
    have = owner.grad
    if have is None:
        owner.grad = wrap(current().append(OPS["alias"], (cotangent,), ()))
    elif create_graph:
        owner.grad = have + wrap(cotangent)
    else:
        have.add_(wrap(cotangent))


def pull(
    outputs: tuple[Sequence[Tensor], Sequence[Tensor | None]],
    wrt: Sequence[Value] | None,
    retain: bool,
    create: bool,
) -> dict[Value, Value]:
    """The cotangents of leaves (or of ``wrt``), given outputs and their weights."""
    with grad_mode(create):
        seeds = _seeds(*outputs)
        builder: Any = current()
        walked: list[Node] = []
        before = builder.site

        def enter(node: Node) -> None:
            walked.append(node)
            builder.residuals.node = node
            builder.site = Site(node.site.span, node.site.path, "backward")

        try:
            found = differentiate(seeds, wrt, _is_leaf, enter)
        finally:
            builder.residuals.node, builder.site = None, before
    for node in walked:
        if isinstance(node.op, CompiledCall):
            node.op.leave(retain)
    if not retain:
        for node in walked:
            _free(node)
    return found


def _seeds(outputs: Sequence[Tensor], weights: Sequence[Tensor | None]) -> dict[Value, Value]:
    seeds: dict[Value, Value] = {}
    for t, weight in zip(outputs, weights, strict=True):
        value = value_of(t)
        if not value.tracked:
            raise GradError(
                explain(
                    "backward: this tensor does not require grad and was not made from one that does",
                    caller(),
                )
            )
        if weight is None and value.type.shape and t.numel() != 1:
            raise GradError(
                explain(
                    f"backward: gradient can only be left out for a single element, this is {value.type}",
                    caller(),
                    "pass gradient=, or reduce it first with sum() or mean()",
                )
            )
        if weight is not None and weight._type != value.type:
            raise ShapeError(f"backward: gradient is {weight._type}, the output is {value.type}")
        g = value.full(1) if weight is None else value_of(weight)
        seeds[value] = seeds[value] + g if value in seeds else g
    return seeds


def _is_leaf(value: Value) -> bool:
    return value.note is not None and value.note.leaf is not None


def _free(node: Node) -> None:
    """A second backward may pass this node only where its derivative reads no value of it."""
    for value in node.results:
        if value.note is None:
            value.note = _Spent()
        value.note.freed = True


class _Spent:
    """The note of a value that no tensor holds and whose graph was freed."""

    __slots__ = ("freed",)
    leaf = None

    def __init__(self) -> None:
        self.freed = True

    def is_stale(self) -> bool:
        """It has no storage that could change."""
        return False


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
) -> tuple[Tensor | None, ...]:
    """The derivative of the sum of ``outputs`` with respect to ``inputs``, without touching ``.grad``."""
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    weights = (
        [grad_outputs]
        if isinstance(grad_outputs, Tensor)
        else list(grad_outputs or [None] * len(outs))
    )
    values = [value_of(t) for t in ins]
    for t, value in zip(ins, values, strict=True):
        if not value.tracked:
            raise GradError(
                explain(f"grad: an input of type {t._type} does not require grad", caller())
            )
    found = pull(
        (outs, weights),
        values,
        create_graph if retain_graph is None else retain_graph,
        create_graph,
    )
    results: list[Tensor | None] = []
    with grad_mode(create_graph):
        for value in values:
            if value not in found and not allow_unused:
                raise GradError(
                    explain(
                        "grad: an input was not used to make the outputs",
                        caller(),
                        "pass allow_unused=True",
                    )
                )
            results.append(
                wrap(current().append(OPS["alias"], (found[value],), ()))
                if value in found
                else None
            )
    return tuple(results)
