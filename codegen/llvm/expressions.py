"""Expressions while a kernel is written: constants, loads, intrinsics, and choices by index."""

from __future__ import annotations

from ...ir.loops import Apply, Const, Expr, Index, Load, Where
from ...ir.sizes import poly
from .casts import bitcast, cast
from .emit import Value
from .places import Places
from .scalar import WRITE


class Expressions(Places):
    """Spells expressions; all operands of an intrinsic are scalars, or all have the loop's lanes."""

    def __init__(self) -> None:
        super().__init__()
        self.current = "entry"

    def value(self, e: Expr) -> Value:
        """An expression."""
        if isinstance(e, Const):
            return self.const(e.dtype.name, 0, e.value)
        if isinstance(e, Load):
            return self.load(self.buffers[e.buffer], e.index)
        if isinstance(e, Index):
            return self.index_value(e.at)
        if isinstance(e, Apply):
            return self.applied(e)
        assert isinstance(e, Where)
        return self.where(e)

    def applied(self, e: Apply) -> Value:
        """An intrinsic."""
        args = [self.value(a) for a in e.args]
        if e.fn == "cast":
            return cast(self, args[0], e.dtype.name)
        if e.fn == "bitcast":
            return bitcast(self, args[0], e.dtype.name)
        return self.apply(e.fn, args)

    def apply(self, fn: str, args: list[Value]) -> Value:
        """An intrinsic of values, all scalar or all lanes."""
        if any(a.lanes for a in args):
            args = [self.wide(a) for a in args]
        return WRITE[fn](self, *args)  # type: ignore[no-any-return]

    def where(self, e: Where) -> Value:
        """One of two values, by where an index lies; loads of the other one are masked off."""
        test: Value | None = None
        for at, low, high in e.conds:
            v = self.index_value(at)
            lowest, highest = self.number(poly(low)), self.number(poly(high))
            if v.lanes:
                lowest, highest = self.splat(lowest, v.lanes), self.splat(highest, v.lanes)
            here = v.compare("sge", lowest) & v.compare("slt", highest)
            if test is not None and test.lanes != here.lanes:
                test, here = self.wide(test), self.wide(here)
            test = here if test is None else test & here
        assert test is not None
        if test.lanes or self.lane is not None:
            return self.where_lanes(e, self.wide(test))
        return self.branch(test, e)

    def where_lanes(self, e: Where, test: Value) -> Value:
        """Both values, each with its own lanes on."""
        assert self.lane is not None
        axis, lanes, mask = self.lane
        inverse = test ^ True
        self.lane = (axis, lanes, test if mask is None else mask & test)
        a = self.wide(self.value(e.value))
        self.lane = (axis, lanes, inverse if mask is None else mask & inverse)
        b = self.wide(self.value(e.other))
        self.lane = (axis, lanes, mask)
        return test.select(a, b)

    def branch(self, test: Value, e: Where) -> Value:
        """A scalar choice: only the chosen value is computed."""
        yes, no, join = self.name() + "Y", self.name() + "N", self.name() + "J"
        self.raw(f"br i1 {test.text}, label %{yes}, label %{no}")
        ends = []
        for label, part in ((yes, e.value), (no, e.other)):
            self.lines.append(f"{label}:")
            self.current = label
            self.scopes.append({})
            ends.append((self.value(part), self.current))
            self.current, last = label, self.current
            self.scopes.pop()
            ends[-1] = (ends[-1][0], last)
            self.raw(f"br label %{join}")
        self.lines.append(f"{join}:")
        self.current = join
        (a, from_a), (b, from_b) = ends
        out = Value(self, a.kind, a.lanes, "%" + self.name())
        self.raw(f"{out.text} = phi {a.type} [ {a.text}, %{from_a} ], [ {b.text}, %{from_b} ]")
        return out
