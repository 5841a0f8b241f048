"""Expressions while a kernel is written: constants, loads, intrinsics, and choices by index."""

from __future__ import annotations

from ...ir.loops import Apply, Const, Expr, Index, Load, Where
from .casts import bitcast, cast
from .emit import Value
from .places import Places
from .scalar import WRITE


class Expressions(Places):
    """Spells expressions; all operands of an intrinsic are scalars, or all have the loop's lanes."""

    def value(self, e: Expr) -> Value:
        """An expression."""
        kind = type(e)
        if kind is Load:
            return self.load(self.buffers[e.buffer], e.index)  # type: ignore[attr-defined]
        if kind is Apply:
            return self.applied(e)  # type: ignore[arg-type]
        if kind is Const:
            return self.const(e.dtype.name, 0, e.value)  # type: ignore[attr-defined]
        if kind is Index:
            return self.index_value(e.at)  # type: ignore[attr-defined]
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
        if self.lane is not None and any(a.lanes for a in args):
            args = [self.wide(a) for a in args]
        return WRITE[fn](self, *args)  # type: ignore[no-any-return]

    def where(self, e: Where) -> Value:
        """One of two values, by where an index lies; loads of the other one are masked off."""
        test: Value | None = None
        for at, low, high in e.conds:
            v = self.index_value(at)
            lowest, highest = self.number(low), self.number(high)
            if v.lanes:
                lowest, highest = self.splat(lowest, v.lanes), self.splat(highest, v.lanes)
            here = v.compare("sge", lowest) & v.compare("slt", highest)
            if test is not None and test.lanes != here.lanes:
                test, here = self.wide(test), self.wide(here)
            test = here if test is None else test & here
        if test is None:
            return self.value(e.value)
        if test.lanes:
            return self.where_lanes(e, test)
        return self.choose(test, lambda: self.chosen(e.value), lambda: self.chosen(e.other))

    def chosen(self, e: Expr) -> Value:
        """A value that is only computed where it is chosen: registers put together for it are not kept."""
        before = dict(self.registers)
        value = self.wide(self.value(e))
        self.registers = before
        return value

    def where_lanes(self, e: Where, test: Value) -> Value:
        """Both values, each with its own lanes on."""
        assert self.lane is not None
        axis, lanes, mask = self.lane
        before, self.guarded = self.guarded, True
        inverse = test ^ True
        self.lane = (axis, lanes, test if mask is None else mask & test)
        a = self.wide(self.value(e.value))
        self.lane = (axis, lanes, inverse if mask is None else mask & inverse)
        b = self.wide(self.value(e.other))
        self.lane, self.guarded = (axis, lanes, mask), before
        return test.select(a, b)
