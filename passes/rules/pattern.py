"""The language of rewrite rules: both sides of a rule are patterns, so that rules can be read, printed and fuzzed.

    pattern   = variable | number | use
    use       = op "(" pattern,* attribute* ")"          -- op.permute(x, order=order), x + y, -x
    attribute = name "=" value | name "=" variable | name "=" computed (on the right side only)

A variable stands for one value (or one attribute) wherever it occurs; a number for a constant that holds it in each
place, where zeros of different sign differ for floats.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from ...ir.graph import Node, Value
from ...ir.op import OPS, Op, op_named

Pattern = Any
Bound = dict[str, Any]


class _Arithmetic:
    """Operators that make uses."""

    def __add__(self, other: Pattern) -> Use:
        return Use("add", (self, other))

    def __sub__(self, other: Pattern) -> Use:
        return Use("sub", (self, other))

    def __rsub__(self, other: Pattern) -> Use:
        return Use("sub", (other, self))

    def __mul__(self, other: Pattern) -> Use:
        return Use("mul", (self, other))

    def __truediv__(self, other: Pattern) -> Use:
        return Use("div", (self, other))

    def __rtruediv__(self, other: Pattern) -> Use:
        return Use("div", (other, self))

    def __neg__(self) -> Use:
        return Use("neg", (self,))


class Variable(_Arithmetic):
    """A value or an attribute that is the same wherever the variable stands."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class Use(_Arithmetic):
    """A use of an op on patterns."""

    __slots__ = ("attributes", "op", "operands")

    def __init__(self, name: str, operands: tuple[Pattern, ...], attributes: dict[str, Any] | None = None) -> None:
        self.op, self.operands = op_named(name), operands
        given = attributes or {}
        self.attributes = tuple([given.get(n, ANYTHING) for n in self.op.attributes])

    def __repr__(self) -> str:
        parts = [*map(repr, self.operands)]
        for name, value in zip(self.op.attributes, self.attributes, strict=True):
            parts.append(f"{name}={value!r}")
        return f"{self.op.name}({', '.join(parts)})"


class Computed:
    """An attribute of the right side: a function of what the left side bound."""

    __slots__ = ("function", "names")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.names = function, parameters(function)

    def of(self, bound: Bound) -> Any:
        """The attribute, given what the variables stand for."""
        return self.function(*[bound[n] for n in self.names])

    def __repr__(self) -> str:
        return f"<{', '.join(self.names)}>"


class _Anything:
    def __repr__(self) -> str:
        return "_"


ANYTHING = _Anything()


class _Ops:
    """``op.permute(x, order=order)`` is a use of ``permute``."""

    def __getattr__(self, name: str) -> Callable[..., Use]:
        return lambda *operands, **attributes: Use(name, operands, attributes)


op = _Ops()


def variables(names: str) -> tuple[Variable, ...]:
    """A variable for each word."""
    return tuple(map(Variable, names.split()))


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters: which variables it asks for."""
    return tuple(inspect.signature(function).parameters)


class Rule:
    """``pattern`` may become ``replacement`` where ``where`` holds, for all inputs bit for bit.

    ``ulp`` is not 0 for the few that keep an op's stated accuracy rather than its bits.
    """

    __slots__ = ("_asks", "name", "pattern", "replacement", "ulp", "where")

    def __init__(
        self, name: str, pattern: Use, replacement: Pattern, where: Callable[..., bool] | None, ulp: float
    ) -> None:
        self.name, self.pattern, self.replacement, self.where, self.ulp = name, pattern, replacement, where, ulp
        self._asks = parameters(where) if where else ()

    def match(self, node: Node) -> Bound | None:
        """What the variables stand for, or None where the rule does not apply to ``node``."""
        bound: Bound = {}
        if not _match_use(self.pattern, node, bound):
            return None
        if self.where is not None and not self.where(*[bound[n] for n in self._asks]):
            return None
        return bound

    def __repr__(self) -> str:
        return f"{self.name}: {self.pattern!r} -> {self.replacement!r}"


def rule(
    name: str, pattern: Use, replacement: Pattern, where: Callable[..., bool] | None = None, ulp: float = 0
) -> Rule:
    """A rewrite rule; ``where`` asks for variables by the names of its parameters."""
    return Rule(name, pattern, replacement, where, ulp)


# ---- matching ----


def _match_use(pattern: Use, node: Node, bound: Bound) -> bool:
    if node.op is not pattern.op or len(node.operands) != len(pattern.operands):
        return False
    for part, value in zip(pattern.operands, node.operands, strict=True):
        if not _match(part, value, bound):
            return False
    for wanted, found in zip(pattern.attributes, node.attributes, strict=True):
        if wanted.__class__ is Variable:
            if bound.setdefault(wanted.name, found) != found:
                return False
        elif wanted is not ANYTHING and wanted != found:
            return False
    return True


def _match(pattern: Pattern, value: Value, bound: Bound) -> bool:
    kind = pattern.__class__
    if kind is Variable:
        return bound.setdefault(pattern.name, value) is value
    if kind is Use:
        return _match_use(pattern, value.node, bound)
    return is_number(value, pattern)


def is_number(value: Value, number: complex) -> bool:
    """Whether a value is a constant that holds ``number``; the sign of a zero counts for floats."""
    node = value.node
    if node.op is not OPS["constant"]:
        return False
    found = node.attributes[0]
    if found != number:
        return False
    if found or not value.dtype.is_floating_point:
        return True
    return math.copysign(1, found) == math.copysign(1, number)  # type: ignore[arg-type]


# ---- building ----

Append = Callable[[Op, tuple[Value, ...], tuple[Any, ...]], Any]


def build(pattern: Pattern, bound: Bound, root: Value, append: Append) -> Value:
    """The right side as values; a number takes the type of the operand beside it, or of ``root`` where it is alone."""
    if pattern.__class__ is Variable:
        return bound[pattern.name]  # type: ignore[no-any-return]
    if pattern.__class__ is not Use:
        return constant_like(pattern, root, append)
    made = [None if isinstance(p, int | float) else build(p, bound, root, append) for p in pattern.operands]
    beside = next((v for v in made if v is not None), root)
    operands = tuple([
        constant_like(p, beside, append) if v is None else v
        for p, v in zip(pattern.operands, made, strict=True)
    ])  # fmt: skip
    return append(pattern.op, operands, tuple([_attribute(a, bound) for a in pattern.attributes]))  # type: ignore[no-any-return]


def constant_like(number: complex, value: Value, append: Append) -> Value:
    """A constant of the type of ``value``."""
    return append(OPS["constant"], (), (number, value.dtype, value.shape))  # type: ignore[no-any-return]


def _attribute(wanted: Any, bound: Bound) -> Any:
    if wanted.__class__ is Variable:
        return bound[wanted.name]
    return wanted.of(bound) if wanted.__class__ is Computed else wanted
