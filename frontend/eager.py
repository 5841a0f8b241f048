"""Eager execution: a builder that runs each op at once, by its reference, and keeps what a backward will need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.errors import DTypeError, GradError, OpError, ShapeError
from ..ir.graph import Node, Value, infer
from ..ir.op import Op
from ..ir.source import NOWHERE, Site, Span, caller, explain
from .state import state


def is_tracked(op: Op, operands: Sequence[Value]) -> bool:
    """Whether a result takes part in differentiation: grad mode is on, and the op passes on an operand's derivative."""
    if not state.grad_enabled or not op.vjp:
        return False
    return any(v.tracked for v in operands)


WAYS_OUT = (
    (DTypeError, "convert it with .to(dtype)"),
    (ShapeError, "reshape, expand or slice one of them so that the sizes meet"),
)


def located(error: OpError, span: Span | str | None) -> OpError:
    """The same error with the user's line and a way out; itself where it has them."""
    if "\n" in str(error):
        return error
    ways = [way for kind, way in WAYS_OUT if isinstance(error, kind)]
    return type(error)(explain(str(error), span, *ways))


class Residuals:
    """While a backward walks ``node``: what it reads must neither have been overwritten nor freed."""

    __slots__ = ("node",)

    def __init__(self) -> None:
        self.node: Node | None = None

    def check(self, operands: Sequence[Value]) -> None:
        """GradError naming the line that made the value, and what to do."""
        node = self.node
        if node is None:
            return
        freed = any(v.note is not None and v.note.freed for v in node.results)
        for value in operands:
            if freed and (value.node is node or value in node.operands):
                raise GradError(spent(node))
            stamp = value.note
            if stamp is not None and stamp.is_stale():
                raise GradError(overwritten(value, stamp.version, stamp.versions[0]))


def overwritten(value: Value, needed: int, now: int, span: Span | str | None = None) -> str:
    """The message of a backward that reads what was written since; ``span``: the line that used it, if it is known."""
    return explain(
        f"a value that backward needs was overwritten in place: {value.node.op.name} {value.type}, "
        f"needed at version {needed}, now {now}",
        span or value.node.site.span,
        "make the change out of place (y = y + 1), or on a clone()",
    )


def spent(node: Node) -> str:
    """The message of a second backward."""
    place = f" made at {node.site.span}" if node.site.span else ""
    return explain(
        f"backward a second time through {node.op.name}{place}: its values were freed",
        node.site.span,
        "pass retain_graph=True to the first backward",
    )


class Eager:
    """The builder of every thread that traces nothing. ``site`` overrides the search for the user's line."""

    def __init__(self) -> None:
        self.site: Site | None = None
        self.residuals = Residuals()

    def append(self, op: Op, operands: Sequence[Value], attributes: tuple[Any, ...]) -> Any:
        """Run one op; returns its result (or results), with ``data``."""
        operands = tuple(operands)
        if self.residuals.node is not None:
            self.residuals.check(operands)
        try:
            types = infer(op, operands, attributes)
            tracked = is_tracked(op, operands)
            with np.errstate(all="ignore"):
                data = op.reference(*[v.data for v in operands], **op.named(attributes))
        except OpError as error:
            raise located(error, caller(2)) from None
        if tracked:
            node = Node(op, operands, attributes, types, self.site or Site(caller(2)), True)
        else:
            node = Node(op, (), attributes, types, NOWHERE, False)
        return _fill(node, data)


def _fill(node: Node, data: Any) -> Any:
    results = node.results
    if len(results) == 1:
        results[0].data = data
        if (
            node.results[0].tracked
            and not results[0].dtype.is_floating_point
            and not results[0].dtype.is_complex
        ):
            results[0].tracked = False
        return results[0]
    for value, array in zip(results, data, strict=True):
        value.data = array
    return results
