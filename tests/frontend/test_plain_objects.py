"""Plain objects that a function reads, however it gets at them: a change is seen, what is not read is not guarded."""

from __future__ import annotations

import argparse
import copy
import logging
import types
from collections import Counter, UserDict, defaultdict, deque
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import pytest
from compiled_programs import draw, follows, numbers

import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn


class Box:
    """A plain object."""

    shared = 1.0

    def __init__(self, k: Any = 2.0) -> None:
        self.k, self.unread = k, 0

    def step(self, x: Any, cfg: Any) -> Any:
        return x * cfg.k * self.k


class Slotted:
    __slots__ = ("k",)

    def __init__(self, k: float) -> None:
        self.k = k


class Fallback:
    def __init__(self, k: float) -> None:
        self.values = {"k": k}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None


def scaled(x: Any, c: Any) -> Any:
    return x * c.k


def scaled_by_keyword(x: Any, *, c: Any = None) -> Any:
    return x * c.k


def scaled_by_all(x: Any, *boxes: Any, **more: Any) -> Any:
    for b in (*boxes, *more.values()):
        x = x * b.k
    return x


def local(x: Any, b: Any) -> Any:
    c = b
    return x * c.k


def matched(x: Any, b: Any) -> Any:
    match b:
        case Box(k=2.0):
            return x + 1
        case _:
            return x - 1


def attempted(x: Any, b: Any) -> Any:
    try:
        return x * b.extra
    except AttributeError:
        return x


READS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "helper": lambda b: lambda x: scaled(x, b),
    "keyword of a helper": lambda b: lambda x: scaled_by_keyword(x, c=b),
    "all arguments of a helper": lambda b: lambda x: scaled_by_all(x, b),
    "all keywords of a helper": lambda b: lambda x: scaled_by_all(x, more=b),
    "partial": lambda b: partial(scaled, c=b),
    "partial in a closure": lambda b: (lambda f: lambda x: f(x))(partial(scaled, c=b)),
    "method": lambda b: lambda x: Box(1.0).step(x, b),
    "alias": lambda b: lambda x: local(x, b),
    "loop": lambda b: lambda x: sum(x * c.k for c in [b, b]),
    "list": lambda b: (lambda bs: lambda x: sum(x * c.k for c in bs))([b]),
    "dict": lambda b: (lambda bs: lambda x: sum(x * c.k for c in bs.values()))({"b": b}),
    "deque": lambda b: (lambda bs: lambda x: sum(x * c.k for c in bs))(deque([b])),
    "match": lambda b: lambda x: matched(x, b),
    "getattr": lambda b: lambda x: x * getattr(b, "k", 1.0),
    "vars": lambda b: lambda x: x * vars(b)["k"],
    "default": lambda b: lambda x, c=b: scaled(x, c),
    "attribute of another": lambda b: (lambda o: lambda x: scaled(x, o.k))(Box(b)),
}  # fmt: skip


@pytest.mark.parametrize("way", READS)
def test_a_number_is_changed(way: str) -> None:
    box = Box()
    other = None if way == "vars" else lambda: setattr(box, "unread", 5)
    log = follows(READS[way](box), lambda: setattr(box, "k", 5.0), other=other)
    assert "k changed from 2.0 to 5.0" in log[1] or "changed" in log[1]


@pytest.mark.parametrize("way", ["first", "keyword", "in a list", "in a dict"])
def test_an_argument_is_changed(way: str) -> None:
    box = Box()
    change, other = lambda: setattr(box, "k", 5.0), lambda: setattr(box, "unread", 5)
    if way == "first":
        follows(lambda x, c: local(x, c), change, box, other=other)
    elif way == "keyword":
        follows(lambda x, *, c: local(x, c), change, c=box, other=other)
    elif way == "in a list":
        follows(lambda x, cs: sum(x * c.k for c in cs), change, [box], other=other)
    else:
        follows(lambda x, cs: x * cs["a"].k, change, {"a": box}, other=other)


def test_slots_and_getattr() -> None:
    slotted, fallback = Slotted(2.0), Fallback(2.0)
    follows(lambda x: scaled(x, slotted), lambda: setattr(slotted, "k", 5.0))
    follows(lambda x: scaled(x, fallback), lambda: fallback.values.update(k=5.0))


def test_what_classes_compute() -> None:
    class Odd:
        def __init__(self) -> None:
            self.k = 2.0

        def __getattribute__(self, name: str) -> Any:
            if name == "twice":
                return object.__getattribute__(self, "k") * 2
            return super().__getattribute__(name)

    class Table:
        def __init__(self) -> None:
            self.entries = {"k": 2.0}

        def __getitem__(self, key: str) -> float:
            return self.entries[key] * RATE

    class Both(Odd, Table):
        def __init__(self) -> None:
            Odd.__init__(self)
            Table.__init__(self)

    odd, both = Odd(), Both()
    follows(lambda x: x * odd.twice, lambda: setattr(odd, "k", 5.0))
    follows(lambda x: x * both.twice * both["k"], lambda: both.entries.update(k=5.0))
    follows(lambda x: x * both.twice * both["k"], lambda: setattr(both, "k", 5.0))
    follows(lambda x: x * both["k"], lambda: globals().update(RATE=5.0))


def test_objects_of_packages_and_copies() -> None:
    options, table, box = argparse.Namespace(k=2.0), UserDict(k=2.0), Box()
    follows(lambda x: scaled(x, options), lambda: setattr(options, "k", 5.0))
    follows(lambda x: x * table["k"], lambda: table.update(k=5.0))
    follows(lambda x: scaled(x, copy.deepcopy(box)), lambda: setattr(box, "k", 5.0))
    logger = logging.getLogger("gristmill.test")

    def f(x: Any) -> Any:
        logger.debug("a cache of the logger is written here")
        return x * (2 if logger.level else 1)

    follows(f, lambda: logger.setLevel(logging.ERROR))


def test_class_attributes() -> None:
    class Config:
        lr = 0.5

        @classmethod
        def twice(cls) -> float:
            return cls.lr * 2

        @staticmethod
        def fixed() -> float:
            return RATE * 2

    class Special(Config):
        @classmethod
        def twice(cls) -> float:
            return super().twice() + 1

    config, special, plain = Config(), Special(), Config()
    follows(lambda x: x * config.lr, lambda: setattr(config, "lr", 4.0))
    follows(lambda x: x * plain.lr, lambda: setattr(Config, "lr", 3.0))
    follows(lambda x: x * special.lr, lambda: setattr(Config, "lr", 5.0))
    follows(lambda x: x * special.lr, lambda: setattr(Special, "lr", 6.0))
    follows(lambda x: x * plain.twice(), lambda: setattr(Config, "lr", 7.0))
    follows(lambda x: x * Config.twice(), lambda: setattr(Config, "lr", 8.0))
    follows(lambda x: x * special.twice(), lambda: setattr(Special, "lr", 9.0))
    follows(lambda x: x * plain.fixed(), lambda: globals().update(RATE=3.0))
    follows(lambda x: x * Config.fixed(), lambda: globals().update(RATE=4.0))


RATE = 2.0


def test_a_class_of_mere_data() -> None:
    class Config:
        k, other = 2.0, [1.0]

    class Special(Config):
        pass

    box = Box(Config)
    follows(lambda x: scaled(x, Config), lambda: setattr(Config, "k", 5.0))
    follows(lambda x: scaled(x, box.k), lambda: setattr(Config, "k", 6.0))
    follows(lambda x, c: scaled(x, c), lambda: setattr(Config, "k", 7.0), Config)
    follows(lambda x: scaled(x, Special), lambda: setattr(Config, "k", 8.0))


def test_what_super_reads() -> None:
    class Base:
        def rate(self) -> float:
            return RATE

    class Derived(Base):
        def rate(self) -> float:
            return super().rate() * 2

    obj = Derived()
    follows(lambda x: x * obj.rate(), lambda: globals().update(RATE=7.0))
    follows(lambda x: x * obj.rate(), lambda: setattr(Base, "rate", lambda self: 9.0))


def test_absent_then_there() -> None:
    for f in (
        lambda x, b: attempted(x, b),
        lambda x, b: x * 3 if hasattr(b, "extra") else x,
        lambda x, b: x * getattr(b, "extra", 1.0),
    ):
        box = Box()
        log = follows(lambda x, f=f, box=box: f(x, box), lambda box=box: setattr(box, "extra", 5.0))
        assert "Box.extra changed from nothing to 5.0" in log[1]
        box = Box()
        del box.unread
        follows(lambda x, f=f, box=box: f(x, box), lambda: setattr(Box, "extra", 5.0))
        del Box.extra  # type: ignore[attr-defined]


def test_an_import_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("plain_config")
    module.K = module.J = 2.0  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "plain_config", module)

    def whole(x: Any) -> Any:
        import plain_config  # type: ignore[import-not-found]

        return x * plain_config.K

    def name(x: Any) -> Any:
        from plain_config import J, K

        return x * K * J

    follows(whole, lambda: setattr(module, "K", 5.0))
    follows(name, lambda: setattr(module, "J", 5.0))


def test_two_closures_of_one_code() -> None:
    def make(k: float) -> Any:
        def f(x: Any) -> Any:
            return x * k

        def change(v: float) -> None:
            nonlocal k
            k = v

        return f, change

    def call(x: Any, f: Any) -> Any:
        return f(x)

    (f, _), (g, change) = make(2.0), make(3.0)
    box = Box(g)
    follows(lambda x: call(x, f) + call(x, g), lambda: change(5.0))
    follows(lambda x: call(x, f) + call(x, box.k), lambda: change(6.0))
    follows(lambda x, h: f(x) + h(x), lambda: change(7.0), g)


def test_a_cached_property() -> None:
    class Lazy:
        @cached_property
        def k(self) -> float:
            return 3.0

    lazy = Lazy()
    follows(lambda x: scaled(x, lazy), lambda: setattr(lazy, "k", 5.0))


# ---- modules ----


class Net(nn.Module):
    scale = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.config, self.cfgs, self.act, self.flag = Box(), [Box()], F.relu, False

    @property
    def wide(self) -> float:
        c = self.config
        return c.k

    def part(self, x: Any) -> Any:
        return x + 1

    def forward(self, x: Any, cfg: Any = None) -> Any:
        c = self.config
        x = self.act(self.part(x)) * c.k * self.scale * self.wide
        for each in self.cfgs:
            x = x * each.k
        if hasattr(self, "extra"):
            x = x * 5
        return x * getattr(self, "more", 1.0) * (1 if cfg is None else cfg.k)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "config": lambda net: setattr(net.config, "k", 5.0),
    "list": lambda net: setattr(net.cfgs[0], "k", 5.0),
    "function": lambda net: setattr(net, "act", F.tanh),
    "lambda": lambda net: setattr(net, "act", lambda x: x * 3),
    "method": lambda net: setattr(net, "part", lambda x: x * 3),
    "forward": lambda net: setattr(net, "forward", lambda x: x * 3),
    "class number": lambda net: setattr(type(net), "scale", 3.0),
    "shadowed number": lambda net: setattr(net, "scale", 4.0),
    "class method": lambda net: setattr(type(net), "part", lambda self, x: x * 3),
    "class forward": lambda net: setattr(type(net), "forward", lambda self, x: x * 3),
    "added flag": lambda net: setattr(net, "extra", True),
    "added number": lambda net: setattr(net, "more", 3.0),
    "added to the class": lambda net: setattr(type(net), "more", 3.0),
}


@pytest.mark.parametrize("compiles", ["function", "module"])
@pytest.mark.parametrize("case", CHANGES)
def test_a_module_is_changed(case: str, compiles: str) -> None:
    net = type("Twin", (Net,), dict(vars(Net)))()
    compiled = gm.compile(net) if compiles == "module" else gm.compile(lambda x: net(x))
    for count, act in enumerate((lambda n: None, lambda n: setattr(n, "unread", 3), CHANGES[case])):
        act(net)
        for _ in range(4):
            np.testing.assert_allclose(numbers(compiled(draw(3))), numbers(net(draw(3))), rtol=1e-6)
        made = compiled._compiled_call if compiles == "module" else compiled
        assert len(made.log) == 1 + (count == 2), made.log


def test_a_config_is_passed_to_forward() -> None:
    net, box = Net(), Box()
    follows(lambda x: net(x, box), lambda: setattr(box, "k", 5.0))
    follows(lambda x: net(x, cfg=box), lambda: setattr(box, "k", 6.0))


def test_methods_of_plain_objects_are_replaced() -> None:
    class Plain:
        def act(self, x: Any) -> Any:
            return x + 1

    a, b = Plain(), Plain()
    follows(lambda x: a.act(x), lambda: setattr(a, "act", lambda x: x * 3))
    follows(lambda x: b.act(x), lambda: setattr(Plain, "act", lambda self, x: x * 4))


# ---- containers ----


@pytest.mark.parametrize(
    "made",
    [
        lambda: defaultdict(float, a=2.0),
        lambda: Counter(a=2),
        lambda: deque([2.0]),
        lambda: bytearray(b"ab"),
        lambda: {2.0},
        lambda: type("Rows", (list,), {})([2.0]),
        lambda: types.SimpleNamespace(a=2.0),
    ],
)
@pytest.mark.parametrize("argument", [False, True])
def test_containers(made: Any, argument: bool) -> None:
    box = made()

    def f(x: Any, c: Any) -> Any:
        if isinstance(c, types.SimpleNamespace):
            return x * c.a
        return x * sum(c.values() if isinstance(c, dict) else c)

    def change() -> None:
        if isinstance(box, dict):
            box["a"] = 3
        elif isinstance(box, types.SimpleNamespace):
            box.a = 3.0
        else:
            (box.add if isinstance(box, set) else box.append)(3)

    if argument:
        follows(f, change, box)
    else:
        follows(lambda x: f(x, box), change)
