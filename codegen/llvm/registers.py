"""Registers while a kernel is written: SSA values by place, tiles that are turned, and phis of the loops around."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...ir.loops import Buffer, Expr
from ...ir.sizes import Poly
from .emit import Value
from .indices import Indices

Key = tuple[str, tuple[int, ...], int | None]
"""A register: its buffer, its numbers, and which dimension is the lane."""


class Open(NamedTuple):
    """A loop while its body is written: what it stores to, the phis of registers, and their first values."""

    stored: set[str]
    phis: dict[Key, Value]
    first: dict[Key, Value]


class Spot(NamedTuple):
    """An index made ready: each dimension's factor of the lane and rest, the same in elements, and data."""

    kept: tuple[Any, ...]
    entries: list[tuple[bool, list[tuple[tuple[str, ...], int]]]]
    factor: Poly
    rest: list[tuple[tuple[str, ...], int]]
    data: list[tuple[Expr, Any]]


class Registers(Indices):
    """Values of registers; ``per_lane`` are those declared inside the vector loop."""

    def __init__(self, halves: bool) -> None:
        super().__init__(halves)
        self.registers: dict[Key, Value] = {}
        self.alive: dict[Key, str | None] = {}
        self.forms: dict[str, set[int | None]] = {}
        self.per_lane: set[str] = set()
        self.open: list[Open] = []
        self.depth: dict[str, int] = {}
        self.spots: dict[tuple[int, int, str], Spot] = {}

    def spot(self, b: Buffer, index: tuple[Any, ...]) -> Spot:
        """What is known of an index under the current lane (the nest outlives the writer, so ids are names)."""
        key = (id(b), id(index), self.lane[0] if self.lane else "")
        found = self.spots.get(key)
        if found is None:
            found = self.spots[key] = self.ready(b, index)
        return found

    def ready(self, b: Buffer, index: tuple[Any, ...]) -> Spot:
        """Split an index once."""
        place = Poly({})
        entries, data = [], []
        for i, s in zip(index, b.strides, strict=True):
            if isinstance(i, Poly):
                factor, rest = self.split_lane(i)
                entries.append((bool(factor.terms), list(rest.terms.items())))
                place = place + i * s
            else:
                data.append((i, s))
        factor, rest = self.split_lane(place)
        return Spot(index, entries, factor, list(rest.terms.items()), data)

    def forget(self, names: set[str]) -> None:
        """The end of what was declared."""
        self.registers = {k: v for k, v in self.registers.items() if k[0] not in names}
        self.alive = {k: v for k, v in self.alive.items() if k[0] not in names}
        for n in names:
            self.forms.pop(n, None)

    def element(self, b: Buffer, index: tuple[Any, ...]) -> Key:
        """The key of a register: its numbers, and which dimension is the lane."""
        key, dim = [], None
        for d, (moves, rest) in enumerate(self.spot(b, index).entries):
            parts, n = self.parts(rest)
            assert not parts, f"{b.name}: the index of a register must be unrolled"
            if moves:
                dim = d
            key.append(n)
        return b.name, tuple(key), dim

    def get(self, b: Buffer, key: Key) -> Value:
        """Read a register."""
        found = self.registers.get(key)
        return self.assembled(b, key) if found is None else found

    def set(self, b: Buffer, key: Key, v: Value) -> None:
        """Lanes that are off keep their value, unless the register's first store left the same lanes off."""
        forms = self.forms.setdefault(b.name, set())
        forms.add(key[2])
        if len(forms) > 1 and self.overlaid(key, v):
            return
        old = self.registers.get(key)
        mask = self.lane[2] if self.lane and v.lanes else None
        spelled = None if mask is None else mask.text
        if old is None and mask is not None and self.carrier(key):
            old = self.assembled(b, key)
        if old is None:
            self.alive[key] = spelled
        elif spelled != self.alive.get(key):
            self.alive[key] = None
            if mask is not None:
                v = mask.select(v, self.wide(old))
        self.registers[key] = v

    def overlaid(self, key: Key, v: Value) -> bool:
        """Keep other forms of a register true: a number goes into the vector that has it, a vector ends the rest."""
        name, at, dim = key
        if dim is None:
            cover = self.cover(key)
            if cover is None:
                return False
            old = self.registers[cover]
            lane = at[cover[2]] - cover[1][cover[2]]  # type: ignore[index]
            self.registers[cover] = self.emit(
                v.kind,
                old.lanes,
                f"insertelement {old.type} {old.text}, {v.type} {v.text}, i32 {lane}",
            )
            return True
        for k in [k for k in self.registers if k[0] == name and k[2] != dim]:
            if k[2] is not None or self.cover(k, [key], v.lanes):
                del self.registers[k]
        return False

    def cover(self, key: Key, among: Any = None, lanes: int = 0) -> Key | None:
        """The vector in which a single element lies."""
        name, at, _ = key
        for k in self.registers if among is None else among:
            if k[0] != name or k[2] is None:
                continue
            d, n = k[2], lanes or self.registers[k].lanes
            start = k[1][d]
            same = all(x == y for e, (x, y) in enumerate(zip(at, k[1], strict=True)) if e != d)
            if same and start <= at[d] < start + n:
                return k
        return None

    def assembled(self, b: Buffer, key: Key) -> Value:
        """A register that is not held in this form: from other forms, from the last iteration, or never written."""
        name, at, dim = key
        others = self.forms.get(name, set()) - {dim}
        if dim is None:
            cover = self.cover(key) if others else None
            if cover is not None:
                lane = at[cover[2]] - cover[1][cover[2]]  # type: ignore[index]
                return self.extract(self.registers[cover], lane)
        elif others - {None}:
            self.turn(b, key)
            return self.registers[key]
        elif others:
            return self.joined(b, key)
        return self.carry(b, key)

    def joined(self, b: Buffer, key: Key) -> Value:
        """A vector of single elements."""
        name, at, d = key
        assert self.lane is not None and d is not None
        lanes = self.lane[1]
        out = Value(self, b.dtype.name, lanes, "zeroinitializer")
        for n in range(lanes):
            one = self.registers.get((name, (*at[:d], at[d] + n, *at[d + 1 :]), None))
            if one is not None:
                out = self.emit(
                    out.kind,
                    lanes,
                    f"insertelement {out.type} {out.text}, {one.type} {one.text}, i32 {n}",
                )
        return out

    def carrier(self, key: Key) -> list[Open]:
        """The loops that bring a register from one iteration to the next."""
        loops = self.open[self.depth.get(key[0], 0) :]
        return [o for o in loops if key[0] in o.stored]

    def carry(self, b: Buffer, key: Key) -> Value:
        """What the iteration before may have left; 0 where nobody did."""
        lanes = self.lane[1] if self.lane and (key[2] is not None or key[0] in self.per_lane) else 0
        value = Value(self, b.dtype.name, lanes, "zeroinitializer") if lanes else None
        value = value or self.const(b.dtype.name, 0, 0)
        for o in self.carrier(key):
            if key not in o.phis:
                o.first[key] = value
                o.phis[key] = Value(self, value.kind, value.lanes, "%" + self.name())
            value = o.phis[key]
        self.registers[key] = value
        self.forms.setdefault(key[0], set()).add(key[2])
        return value

    def turn(self, b: Buffer, wanted: Key) -> None:
        """A tile written with lanes along one dimension and read along another: shuffle all of it once."""
        assert self.lane is not None
        name, key, dim = wanted
        lanes = self.lane[1]
        at = next(d for n, _, d in self.registers if n == name and d not in (None, dim))
        base = key[dim] // lanes * lanes  # type: ignore[index, operator]

        def spot(row: int, column: int) -> tuple[int, ...]:
            return tuple([{dim: row, at: column}.get(d, key[d]) for d in range(len(key))])

        off = Value(self, b.dtype.name, lanes, "zeroinitializer")
        start = key[at] // lanes * lanes  # type: ignore[index]
        rows = [
            self.registers.get((name, spot(base + row, start), at), off) for row in range(lanes)
        ]
        bit = lanes // 2
        while bit:
            out = list(rows)
            for i in range(lanes):
                if not i & bit:
                    low = [q if not q & bit else lanes + (q ^ bit) for q in range(lanes)]
                    high = [(q | bit) if not q & bit else lanes + q for q in range(lanes)]
                    out[i], out[i | bit] = (
                        self.shuffle(rows[i], rows[i | bit], low),
                        self.shuffle(rows[i], rows[i | bit], high),
                    )
            rows, bit = out, bit // 2
        for column, v in enumerate(rows):
            self.registers[name, spot(base, start + column), dim] = v
        self.forms[name].add(dim)
