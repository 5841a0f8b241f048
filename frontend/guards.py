"""The quick way through a call: one flat generated function per variant and sizes, which checks every guard, fills the
slots of the program, runs it and wraps the results. What it cannot prove it leaves to the general way.

The text of the function is made from the variant's own tables; nothing of the user's is in it but numbers and names.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from ..codegen.memory import allocate
from ..ir.dtypes import float64
from .layout import is_contiguous
from .numbers import SPELLED
from .reads import MISSING, Guard, is_same
from .state import epoch, state
from .storage import Storage
from .tensor import Tensor
from .trace import concrete_shape
from .tree import MAPPINGS, SCALARS, Ref, fields_of, is_named_tuple, with_fields
from .variant import Variant, get, put, writing

MISS: Any = type("Miss", (), {"__repr__": lambda self: "miss"})()
"""What a quick function returns where the general way must decide."""

_BY_IDENTITY = (types.FunctionType, types.ModuleType, type, property, staticmethod, classmethod)


def quick(
    variant: Variant, sizes: dict[str, int], call: tuple[Any, Any], leaves: list[Any]
) -> Callable[..., Any] | None:
    """The quick function of a variant for these sizes, or None where it needs the general way."""
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    if variant.shared or len({id(x) for x in tensors}) != len(tensors) or len(tensors) > 8:
        return None
    if any(x.requires_grad and (x._steps or x._storage.leaf is None) for x in tensors):
        return None
    if variant.effects or variant.made_leaves or variant.made_views or variant.writes_history:
        return None
    return _Generator(variant, sizes).function(call, leaves)


class _Generator:
    """Collects the lines of one function and the objects that they name."""

    def __init__(self, variant: Variant, sizes: dict[str, int]) -> None:
        self.variant, self.sizes = variant, sizes
        self.instance = variant.executable.instance(sizes)
        self.lines: list[str] = []
        self.space: dict[str, Any] = {
            "MISS": MISS, "MISSING": MISSING, "state": state, "epoch": epoch, "variant": variant, "allocate": allocate,
            "Storage": Storage, "Tensor": Tensor, "put": put, "get": get, "is_same": is_same, "writing": writing,
        }  # fmt: skip
        self.space |= SPELLED | sizes
        self.free: list[Any] = []
        self.leaf = 0
        self.depth = 0

    def name(self, value: Any) -> str:
        """A name for an object in the function."""
        key = f"o{len(self.space)}"
        self.space[key] = value
        return key

    def line(self, text: str, depth: int = 1) -> None:
        """One line of the function."""
        self.lines.append("  " * depth + text)

    def act(self, text: str) -> None:
        """One line behind the guards."""
        self.line(text, self.depth)

    def miss(self, condition: str) -> None:
        """Leave to the general way where ``condition`` holds."""
        self.line(f"if {condition}: return MISS")

    def function(self, call: tuple[Any, Any], leaves: list[Any]) -> Callable[..., Any]:
        """Generate, build and return the function of (args, kwargs)."""
        self.line("try:", 0)
        self.miss("state.trace is not None or not state.compiling")
        self.miss(f"state.grad_enabled is not {state.grad_enabled}")
        self._structure("args", call[0], leaves)
        self._structure("kwargs", call[1], leaves)
        self.miss("epoch.count != variant.epoch and not variant.reread()")
        for g in self.variant.guards:
            self._guard(g)
        self._numbers()
        self._paths()
        self._overlap(leaves)
        self.line("except (ValueError, KeyError, IndexError, AttributeError): return MISS", 0)
        self._run(leaves)
        self._results()
        body = "\n ".join(self.lines)
        exec(f"def hit(args, kwargs):\n {body}", self.space)
        return self.space["hit"]  # type: ignore[no-any-return]

    # ---- guards ----

    def _structure(self, path: str, x: Any, leaves: list[Any]) -> None:
        kind = type(x)
        if kind in MAPPINGS:
            self.miss(f"type({path}) is not {self.name(kind)} or len({path}) != {len(x)}")
            if not all(isinstance(key, str) for key in x):
                self.miss("True")
            elif len(x) > 1:  # their order, too: a function may unpack the values
                self.miss(f"tuple({path}) != {self.name(tuple(x))}")
            for key, e in x.items():
                self._structure(f"{path}[{key!r}]", e, leaves)
        elif kind in (tuple, list) or is_named_tuple(x):
            self.miss(f"type({path}) is not {self.name(kind)} or len({path}) != {len(x)}")
            for k, e in enumerate(x):
                self._structure(f"{path}[{k}]", e, leaves)
        elif kind in SCALARS:
            self.miss(f"type({path}) is not {self.name(kind)} or {path} != {self.name(x)}")
        elif fields := fields_of(x):
            self.miss(f"type({path}) is not {self.name(kind)}")
            for field in fields:
                self._structure(f"{path}.{field}", getattr(x, field), leaves)
        else:
            self._leaf(path, x, leaves)

    def _leaf(self, path: str, x: Any, leaves: list[Any]) -> None:
        i, self.leaf = self.leaf, self.leaf + 1
        self.line(f"a{i} = {path}")
        if isinstance(x, Tensor):
            self._tensor(i, x)
        elif isinstance(leaves[i], Tensor):
            self.miss("True")  # an array: the general way wraps it
        elif type(x) not in (int, float):
            self.miss(f"{path} is not {self.name(x)}")

    def _tensor(self, i: int, x: Tensor) -> None:
        if any(pinned is x for _, pinned in self.variant.pinned):
            self.miss(f"a{i} is not {self.name(x)}")
            self.line(f"s{i}_ = a{i}._storage")
            return
        self.miss(f"type(a{i}) is not {self.name(type(x))}")
        self.line(f"s{i}_ = a{i}._storage")
        type_ = self.name(x._type)
        self.miss(f"a{i}._type is not {type_} and a{i}._type != {type_}")
        if is_contiguous(x._type.shape, x._strides):
            self.miss(f"a{i}._strides != {self.name(x._strides)}")
        else:
            self.miss("True")
        if x.requires_grad:
            self.miss(f"s{i}_.leaf is None or a{i}._steps or id(s{i}_) in variant.states")
            return
        self.miss(f"s{i}_.leaf is not None or s{i}_.owner is not None")
        self.miss(f"s{i}_._value is not None and s{i}_._value.tracked")

    def _guard(self, g: Guard) -> None:
        holder, key = self.name(g.holder), self.name(g.key)
        if g.key is None:
            found = f"{holder}.cell_contents"
        elif isinstance(g.holder, dict):
            found = f"dict.get({holder}, {key}, MISSING)"
        elif g.value is MISSING:
            found = f"{holder}.get({key}, MISSING)"
        else:
            found = f"{holder}[{key}]"
        value = self.name(g.value)
        if g.content is None or g.value is MISSING or isinstance(g.value, _BY_IDENTITY):
            self.miss(f"{found} is not {value}")
        elif type(g.value) in (int, float, bool, str, type(None)):
            self.line(f"x = {found}")
            other = f"x != {value}"
            if type(g.value) is float and (not g.value or g.value != g.value):
                other = f"repr(x) != '{g.value!r}'"  # 0.0 and -0.0 are equal, NaN is not itself
            self.miss(
                f"x is not {value} and (type(x) is not {self.name(type(g.value))} or {other})"
            )
        elif isinstance(g.value, Tensor):
            storage = self.name(g.value._storage)
            self.line(f"x = {found}")
            leaf = g.value._storage.leaf is None
            self.miss(f"x is not {value} or x._storage is not {storage}")
            self.miss(f"({storage}.leaf is None) is not {leaf}")
        else:
            self.miss(f"not is_same({found}, {self.name(g)})")

    def _numbers(self) -> None:
        for k, (holder, key) in enumerate(self.variant.numbers):
            found = f"a{key}" if holder is None else f"get({self.name(holder)}, {self.name(key)})"
            if isinstance(holder, dict):
                found = f"dict.get({self.name(holder)}, {self.name(key)})"
            self.line(f"n{k} = {found}")
            kinds = self.variant.kinds
            assert kinds is not None
            self.miss(f"type(n{k}) is not {self.name(kinds[k])}")
        for d in self.variant.decisions:
            self.miss(f"bool({d.text}) is not {d.outcome}")

    def _paths(self) -> None:
        """The storages that attributes lead to in this call."""
        for slot, i in zip(self.instance.input_slots, self.variant.inputs, strict=True):
            if i.kind == "path":
                holder, name = map(self.name, i.key)
                self.line(f"p{slot} = get({holder}, {name})._storage")

    def _overlap(self, leaves: list[Any]) -> None:
        """A changed input shares memory with no other: compared by version cells."""
        targets = self.variant.targets
        if not targets:
            return
        cells = {id(key.versions) for kind, key in self.variant.feeds if kind == "state"}
        known = self.name(cells)
        tensors = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        for i in tensors:
            self.miss(f"id(s{i}_.versions) in {known}")
            for slot, path in zip(self.instance.input_slots, self.variant.inputs, strict=True):
                if path.kind == "path":
                    self.miss(f"s{i}_.versions is p{slot}.versions")
        for i in [key for _, kind, key in targets if kind == "argument"]:
            self.miss(f"not s{i}_.data.flags.writeable")
            for j in tensors:
                if j != i:
                    self.miss(f"s{i}_.versions is s{j}_.versions")

    # ---- the run ----

    def make(self) -> Any:
        """Slots with an arena, and the addresses of captured storages in place."""
        slots, arena = self.instance.new_slots()
        for slot, (kind, key) in zip(self.instance.input_slots, self.variant.feeds, strict=True):
            if kind == "state":
                slots.values[slot] = key.pointer()
        return slots, arena

    def _run(self, leaves: list[Any]) -> None:
        self.space["free"], self.space["make"] = self.free, self.make
        if self.variant.targets:
            self.act("with writing:")
            self.depth = 1
        self.act("try: pair = free.pop()")
        self.act("except IndexError: pair = make()")
        self.act("slots = pair[0]; v = slots.values")
        feeds = zip(self.instance.input_slots, self.variant.inputs, strict=True)
        for slot, i in feeds:
            if i.kind == "argument":
                size = leaves[i.key].dtype.itemsize
                self.act(
                    f"v[{slot}] = (s{i.key}_.address or s{i.key}_.pointer()) + a{i.key}._offset * {size}"
                )
            elif i.kind == "path":
                self.act(f"v[{slot}] = p{slot}.address or p{slot}.pointer()")
            elif i.kind == "number":
                words = "slots.floats" if i.value.dtype is float64 else "v"
                self.act(f"{words}[{slot}] = {i.key}")
        for k, o in enumerate(self.instance.outputs):
            self.act(f"b{k} = allocate({o.nbytes}); v[{o.slot}] = b{k}.address")
        tape = self.variant.tape
        if tape is not None and tape.parts:
            values = "".join(f"n{k}, " for k in range(len(self.variant.numbers)))
            found = f"variant, {self._leaves()}, ({values}), {self.name(self.sizes)}"
            self.act(f"call = {self.name(tape)}.open({found})")
        self.space["run"] = self.instance.run
        self.act("run(slots)")
        self.act("free.append(pair)")
        for place, kind, key in self.variant.targets:
            target = (
                f"s{key}_"
                if kind == "argument"
                else f"p{self.instance.input_slots[place]}"
                if kind == "path"
                else self.name(key)
            )
            self.act(f"{target}.versions[0] += 1; {target}._value = None")
        for kind, key in self.variant.renewed:
            self.act(f"{f's{key}_' if kind == 'argument' else self.name(key)}._value = None")

    def _results(self) -> None:
        for k, (o, (value, strides)) in enumerate(
            zip(self.instance.outputs, self.variant.slots, strict=True)
        ):
            type_ = self.name(value.type._replace(shape=o.shape))
            layout = self.name(concrete_shape(strides, self.sizes))
            array = (
                f"b{k}.array({self.name(o.dtype)}, {self.name(o.shape)}, {self.name(o.strides)})"
            )
            self.act(f"r{k} = Storage({type_}, {layout}, {array}, None)")
        tape = self.variant.tape
        slots = ", ".join(f"r{k}" for k in range(len(self.variant.slots)))
        if tape is not None and tape.spent:
            self.act(f"{self.name(tape)}.mark_spent([{slots}])")
        if tape is not None and tape.parts:
            self.act(f"{self.name(tape)}.close(variant, call, [{slots}], {self._leaves()})")
        self.made: dict[Any, str] = {}
        values = [
            "MISSING" if a[2] is MISSING else self._expression(a[2]) for a in self.variant.assigns
        ]
        result = self._expression(self.variant.result)
        if values:
            self._assigns(values)
        self.act(f"return {result}")

    def _assigns(self, values: list[str]) -> None:
        """Assign what was resolved before: a result may come by a path that is assigned."""
        self.act("before = epoch.count")
        for (obj, name, _), value in zip(self.variant.assigns, values, strict=True):
            if isinstance(obj, Tensor):
                owner = self.name(obj)
                self.act(f"{owner}._grad = {value}")
                self.act(f"if {owner}._watched: epoch.count += 1")
            else:
                self.act(f"put({self.name(obj)}, {self.name(name)}, {value})")
        if self.variant.calm:
            self.act("if variant.epoch == before: variant.epoch = epoch.count")

    def _expression(self, x: Any) -> str:
        """The Python expression of a result."""
        kind = type(x)
        if kind is Ref:
            return self._reference(x)
        if kind is tuple or kind is list or is_named_tuple(x):
            inner = ", ".join(map(self._expression, x))
            if is_named_tuple(x):
                return f"{self.name(kind)}({inner})"
            return f"[{inner}]" if kind is list else f"({inner}{',' if len(x) == 1 else ''})"
        if kind in MAPPINGS:
            pairs = [f"({self.name(k)}, {self._expression(v)})" for k, v in x.items()]
            return f"{self.name(kind)}([{', '.join(pairs)}])"
        if fields := fields_of(x):
            inner = ", ".join(f"{n}={self._expression(getattr(x, n))}" for n in fields)
            return f"{self.name(with_fields)}({self.name(x)}, {inner})"
        return self.name(x)

    def _reference(self, r: Ref) -> str:
        """A name for what a reference stands for; the same place is one object."""
        if r.kind == "argument" and r.view is None:
            return f"a{r.key}"
        if r.kind == "tensor":
            return self.name(r.key)
        place = r.kind, r.key, r.view and r.view[0]
        if place not in self.made:
            name = f"t{len(self.made)}"
            self.act(f"{name} = {self._found(r)}")
            self.made[place] = name
        return self.made[place]

    def _found(self, r: Ref) -> str:
        if r.kind == "slot":
            if r.view is None:
                return f"Tensor(r{r.key})"
            return f"variant.view_of_slot(r{r.key}, {self.name(r.view)}, {self.name(self.sizes)})"
        return f"variant.resolve({self.name(r)}, {self._leaves()}, {self.name(self.sizes)})"

    def _leaves(self) -> str:
        """The leaves of the call, as a tuple."""
        return f"({''.join(f'a{i}, ' for i in range(self.leaf))})"
