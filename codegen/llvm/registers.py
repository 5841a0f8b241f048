"""Registers while a kernel is written: SSA values by place, tiles that are turned, and phis of the loops around."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from ...ir.loops import Buffer, Expr
from ...ir.sizes import ZERO, Poly
from .emit import Value
from .indices import Indices

Key = tuple[str, tuple[int, ...], int | None, int]
"""A piece of a register: its buffer, its numbers, which dimension is the lane, and the lanes (0: one number)."""
Form = tuple[int | None, int, int]
"""How pieces lie: the dimension of the lane, the lanes, and where they begin; of one form none overlap."""


def form_of(key: Key) -> Form:
    """The form of a piece."""
    _, at, d, lanes = key
    return (None, 0, 0) if d is None else (d, lanes, at[d] % lanes)


def elements(key: Key) -> list[tuple[int, ...]]:
    """The numbers of what a piece holds, lane by lane."""
    _, at, d, lanes = key
    return [at] if d is None else [(*at[:d], at[d] + n, *at[d + 1 :]) for n in range(lanes)]


def lane_of(key: Key, at: tuple[int, ...]) -> int | None:
    """The lane of a piece in which an element lies."""
    _, start, d, lanes = key
    if d is None:
        return 0 if at == start else None
    n = at[d] - start[d]
    return n if 0 <= n < lanes and at[:d] == start[:d] and at[d + 1 :] == start[d + 1 :] else None


class Open(NamedTuple):
    """A loop while its body is written: what it stores to, the phis of registers, and their first values."""

    stored: set[str]
    phis: dict[Key, Value]
    first: dict[Key, Value]


Terms = list[tuple[tuple[str, ...], int]]


class Spot(NamedTuple):
    """A place in elements: the factor of the lane, the other terms, and what data adds."""

    kept: tuple[Any, ...]
    factor: Poly
    rest: Terms
    data: list[tuple[Expr, Any]]


class Numbers(NamedTuple):
    """The index of a register: does the lane move a dimension, and its other terms."""

    kept: tuple[Any, ...]
    dims: list[tuple[bool, Terms]]


class Registers(Indices):
    """Values of registers; ``per_lane`` are those declared inside the vector loop.

    An element lies in one piece, or in several of equal content after a tile is turned. ``forms`` are all
    that a register has had: while there is one, pieces need not be compared.
    """

    def __init__(self, features: Collection[str]) -> None:
        super().__init__(features)
        self.buffers: dict[str, Buffer] = {}
        self.registers: dict[Key, Value] = {}
        self.alive: dict[Key, str | None] = {}
        self.forms: dict[str, set[Form]] = {}
        self.per_lane: set[str] = set()
        self.open: list[Open] = []
        self.depth: dict[str, int] = {}
        self.spots: dict[tuple[int, int, str], Spot] = {}
        self.numbered: dict[tuple[int, str], Numbers] = {}

    def spot(self, b: Buffer, index: tuple[Any, ...]) -> Spot:
        """What is known of a place under the current lane (its index is kept, so its id is a name)."""
        key = (id(b), id(index), self.lane[0] if self.lane else "")
        found = self.spots.get(key)
        if found is None:
            place, data = ZERO, []
            for i, s in zip(index, b.strides, strict=True):
                if isinstance(i, Poly):
                    place = place + i * s
                else:
                    data.append((i, s))
            factor, rest = self.split_lane(place)
            found = self.spots[key] = Spot(index, factor, list(rest.terms.items()), data)
        return found

    def numbers(self, index: tuple[Any, ...]) -> Numbers:
        """What is known of a register's index under the current lane."""
        key = (id(index), self.lane[0] if self.lane else "")
        found = self.numbered.get(key)
        if found is None:
            split = [self.split_lane(i) for i in index]
            dims = [(bool(factor.terms), list(rest.terms.items())) for factor, rest in split]
            found = self.numbered[key] = Numbers(index, dims)
        return found

    def forget(self, names: set[str]) -> None:
        """The end of what was declared."""
        self.registers = {k: v for k, v in self.registers.items() if k[0] not in names}
        self.alive = {k: v for k, v in self.alive.items() if k[0] not in names}
        for n in names:
            self.forms.pop(n, None)

    def element(self, b: Buffer, index: tuple[Any, ...]) -> Key:
        """The key of a register: its numbers, and which dimension is the lane."""
        key, dim = [], None
        for d, (moves, rest) in enumerate(self.numbers(index).dims):
            parts, n = self.parts(rest)
            assert not parts, f"{b.name}: the index of a register must be unrolled"
            if moves:
                dim = d
            key.append(n)
        return b.name, tuple(key), dim, self.lane[1] if dim is not None and self.lane else 0

    def get(self, b: Buffer, key: Key) -> Value:
        """Read a register."""
        found = self.registers.get(key)
        return self.assembled(b, key) if found is None else found

    def set(self, b: Buffer, key: Key, v: Value) -> None:
        """Lanes that are off keep their value, unless the register's first store left the same lanes off."""
        forms = self.forms.setdefault(b.name, set())
        forms.add(form_of(key))
        mixed = len(forms) > 1
        old = self.registers.get(key)
        mask = self.lane[2] if self.lane and v.lanes else None
        spelled = None if mask is None else mask.text
        if old is None and mask is not None and (mixed or self.carrier(key)):
            old = self.assembled(b, key)
        if old is None:
            self.alive[key] = spelled
        elif spelled != self.alive.get(key):
            self.alive[key] = None
            if mask is not None:
                v = mask.select(v, self.wide(old))
        if mixed:
            self.hold(key, v)
        else:
            self.registers[key] = v

    def hold(self, key: Key, v: Value) -> None:
        """Write a piece where other forms are about: into those that contain it, else it ends them."""
        touched = [k for k in self.near(key) if k != key]
        around = [k for k in touched if k[3] > key[3] and self.contains(k, key)]
        if around:
            self.registers.pop(key, None)
        else:
            self.registers[key] = v
        for k in around:
            self.registers[k] = self.inserted(self.registers[k], k, v, key)
            self.alive[k] = None
        for k in touched:
            if k not in around:
                self.drop(k)

    def near(self, key: Key) -> list[Key]:
        """The pieces that have an element of this one."""
        places = elements(key)
        mine = [k for k in self.registers if k[0] == key[0]]
        return [k for k in mine if any(lane_of(k, at) is not None for at in places)]

    def contains(self, outer: Key, inner: Key) -> bool:
        """Whether all elements of a piece lie in another."""
        return all(lane_of(outer, at) is not None for at in elements(inner))

    def drop(self, key: Key) -> None:
        """End a piece; elements that lie in no other are kept one by one."""
        v = self.registers.pop(key)
        self.alive.pop(key, None)
        for n, at in enumerate(elements(key)):
            if self.holder(key[0], at) is None:
                self.registers[key[0], at, None, 0] = self.extract(v, n)
                self.forms[key[0]].add((None, 0, 0))

    def holder(self, name: str, at: tuple[int, ...]) -> tuple[Key, int] | None:
        """A piece in which an element lies, and its lane there."""
        for k in self.registers:
            if k[0] == name and (n := lane_of(k, at)) is not None:
                return k, n
        return None

    def inserted(self, into: Value, outer: Key, v: Value, inner: Key) -> Value:
        """A vector with the elements of a smaller piece in their lanes."""
        for n, at in enumerate(elements(inner)):
            lane = lane_of(outer, at)
            assert lane is not None
            into = self.insert(into, self.extract(v, n) if v.lanes else v, lane)
        return into

    def assembled(self, b: Buffer, key: Key) -> Value:
        """A register that is not held in this form: from other forms, from the last iteration, or never written."""
        others = self.forms.get(b.name, set()) - {form_of(key)}
        if not others or not self.near(key):
            return self.carry(b, key)
        if len(others) == 1 and self.turns(next(iter(others)), form_of(key)):
            self.turn(b, key)
            return self.registers[key]
        return self.gathered(b, key, None)

    def turns(self, have: Form, want: Form) -> bool:
        """Whether shuffles of whole squares lead from one form to another."""
        dims_differ = None not in (have[0], want[0]) and have[0] != want[0]
        return dims_differ and have[1:] == want[1:] == (want[1], 0) and not want[1] & (want[1] - 1)

    def gathered(self, b: Buffer, key: Key, base: Value | None) -> Value:
        """A piece put together from others; what lies in none is that of ``base``, else from the last iteration."""
        out = base
        if out is None and key[3]:
            out = Value(self, b.dtype.name, key[3], "zeroinitializer")
        for n, at in enumerate(elements(key)):
            one = self.single(b, at, base is None)
            if one is not None:
                out = self.insert(out, one, n) if out is not None and out.lanes else one
        assert out is not None
        return out

    def single(self, b: Buffer, at: tuple[int, ...], carried: bool) -> Value | None:
        """One element, from whichever piece it lies in."""
        found = self.holder(b.name, at)
        if found is not None:
            v = self.registers[found[0]]
            return self.extract(v, found[1]) if v.lanes else v
        key: Key = (b.name, at, None, 0)
        return self.carry(b, key) if carried and self.carrier(key) else None

    def apart(self, stored: Collection[str]) -> None:
        """Before a loop: of pieces with equal content one is kept, so that its phis do not overlap."""
        for k in list(self.registers):
            if k[0] in stored and len(self.forms.get(k[0], ())) > 1:
                v = self.registers.pop(k)
                if any(self.holder(k[0], at) is None for at in elements(k)):
                    self.registers[k] = v

    def settled(self, phis: dict[Key, Value]) -> dict[Key, Value]:
        """The end of a loop's body: its registers in the forms in which the loop took them."""
        last, moved = {}, []
        for k, p in phis.items():
            v = self.registers.get(k)
            if v is None:
                mixed = len(self.forms.get(k[0], ())) > 1 and self.near(k)
                v = self.gathered(self.buffers[k[0]], k, p) if mixed else p
                if mixed:
                    moved.append(k)
            last[k] = v
        self.registers |= {k: last[k] for k in moved}
        for k in dict.fromkeys(o for m in moved for o in self.near(m) if o not in phis):
            self.drop(k)
        return last

    def carrier(self, key: Key) -> list[Open]:
        """The loops that bring a register from one iteration to the next."""
        loops = self.open[self.depth.get(key[0], 0) :]
        return [o for o in loops if key[0] in o.stored]

    def carry(self, b: Buffer, key: Key) -> Value:
        """What the iteration before may have left; 0 where nobody did."""
        lanes = self.lane[1] if self.lane and key[0] in self.per_lane else key[3]
        value = Value(self, b.dtype.name, lanes, "zeroinitializer") if lanes else None
        value = value or self.const(b.dtype.name, 0, 0)
        for o in self.carrier(key):
            if key not in o.phis:
                o.first[key] = value
                o.phis[key] = Value(self, value.kind, value.lanes, "%" + self.name())
            value = o.phis[key]
        self.registers[key] = value
        self.forms.setdefault(key[0], set()).add(form_of(key))
        return value

    def turn(self, b: Buffer, wanted: Key) -> None:
        """A tile written with lanes along one dimension and read along another: shuffle all of it once."""
        name, key, dim, lanes = wanted
        at = next(d for n, _, d, _ in self.registers if n == name and d not in (None, dim))
        assert at is not None and dim is not None
        base, start = key[dim], key[at] // lanes * lanes

        def spot(row: int, column: int) -> tuple[int, ...]:
            return tuple([{dim: row, at: column}.get(d, key[d]) for d in range(len(key))])

        rows = []
        for row in range(lanes):
            k: Key = (name, spot(base + row, start), at, lanes)
            rows.append(self.registers[k] if k in self.registers else self.carry(b, k))
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
            self.registers[name, spot(base, start + column), dim, lanes] = v
        self.forms[name].add((dim, lanes, 0))
