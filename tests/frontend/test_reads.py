"""What bytecode says a function reads: chains from globals, closures and arguments, and guards on what they hold."""

from __future__ import annotations

import inspect
import subprocess
import textwrap
from functools import partial
from typing import Any

import numpy as np
import pytest
from compiled_programs import draw, numbers
from pythons import find_python

import gristmill as gm
from gristmill.frontend import bytecode
from gristmill.frontend.bytecode import chains_of
from gristmill.frontend.reads import content

TABLE = {"x": [1.0, {"y": 2.0}]}

SOURCE = """
def outer(k, box):
    def f(x, cfg, *, flag=True):
        a = x * k + TABLE["x"][1]["y"]
        if flag and cfg.lr > cfg.nested["a"].b:
            a = helper(a) + box.items[0].value
        rows = [a * SCALE for _ in range(2)]
        return module.function(a, *rows) + box["k"].get(1)
    return f
f = outer(1, 2)
"""
WANTED = [
    ("argument", "cfg", [("attribute", "lr")]),
    ("argument", "cfg", [("attribute", "nested"), ("item", "a"), ("attribute", "b")]),
    ("free", "box", [("attribute", "items"), ("item", 0), ("attribute", "value")]),
    ("free", "box", [("item", "k"), ("attribute", "get")]),
    ("free", "k", []),
    ("global", "TABLE", [("item", "x"), ("item", 1), ("item", "y")]),
    ("global", "helper", []),
    ("global", "module", [("attribute", "function")]),
]  # fmt: skip


def simplified(chains: Any) -> list[Any]:
    return sorted((kind, root, [s[:2] for s in steps]) for kind, root, steps in chains)


def test_chains() -> None:
    space: dict[str, Any] = {}
    exec(SOURCE, space)
    found = simplified(chains_of(space["f"].__code__))
    for chain in WANTED:
        assert chain in found


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_chains_in_other_pythons(version: str) -> None:
    """The reader alone, copied into another Python: each version has other opcodes."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    text = inspect.getsource(bytecode)
    part = text[text.index("# ---- bytecode ----") : text.index("# ---- frames ----")]
    script = (
        "import dis, re, types\nfrom collections import Counter\nfrom collections.abc import Iterator\nfrom typing import Any\n"
        + part
        + SOURCE
    )
    script = (
        "from __future__ import annotations\n"
        + script
        + textwrap.dedent("""
        found = [[k, r, [s[:2] for s in steps]] for k, r, steps in chains_of(f.__code__)]
        for code in f.__code__.co_consts:
            if isinstance(code, types.CodeType):
                found += [[k, r, [s[:2] for s in steps]] for k, r, steps in chains_of(code)]
        import json; print(json.dumps(found))
        """)
    )
    import json

    out = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout
    found = [(k, r, [tuple(s) for s in steps]) for k, r, steps in json.loads(out)]
    for chain in [*WANTED, ("global", "SCALE", [])]:
        assert chain in found, f"{chain} is not in {found}"


def test_content() -> None:
    assert content(1) != content(1.0) != content(True)
    assert content([1, {"a": (2,)}]) == content([1, {"a": (2,)}]) != content([1, {"a": [2]}])
    assert content(np.ones(3)) == content(np.ones(3)) != content(np.zeros(3))
    assert content(object()) != content(object())


class Box:
    """A plain object."""


def noticed(f: Any, change: Any) -> str:
    """A compiled function is right before and after a change; the reason it gives."""
    compiled = gm.compile(f)
    for _ in range(3):
        assert np.array_equal(numbers(compiled(draw(3))), numbers(f(draw(3))))
    change()
    for _ in range(3):
        assert np.array_equal(numbers(compiled(draw(3))), numbers(f(draw(3))))
    assert len(compiled.log) == 2
    return str(compiled.log[-1])


def test_partial() -> None:
    box: Any = Box()
    box.k = 2.0
    scaled = partial(lambda x, by: x * box.k * by, by=3.0)
    assert "box.k changed from 2.0 to 5.0" in noticed(
        lambda x: scaled(x), lambda: setattr(box, "k", 5.0)
    )


def test_default_arguments_and_decorators() -> None:
    import functools

    box: Any = Box()
    box.k = 2.0

    def twice(g: Any) -> Any:
        @functools.wraps(g)
        def inner(x: gm.Tensor) -> Any:
            return g(g(x))

        return inner

    @twice
    def scaled(x: gm.Tensor) -> Any:
        return x * box.k

    assert "box.k changed" in noticed(lambda x: scaled(x), lambda: setattr(box, "k", 5.0))


def test_comprehension_reads_a_closure() -> None:
    scales = [1.0, 2.0]

    def change() -> None:
        scales[1] = 4.0

    noticed(lambda x: sum([x * s for s in scales]), change)


def test_a_nested_function_reads_a_closure() -> None:
    box: Any = Box()
    box.k = 2.0

    def f(x: gm.Tensor) -> Any:
        def inner(y: gm.Tensor) -> Any:
            return y * box.k

        return inner(x) + inner(x * 2)

    noticed(f, lambda: setattr(box, "k", 3.0))


def test_a_property_of_an_argument() -> None:
    class Config:
        def __init__(self) -> None:
            self.width = 2.0

        @property
        def scale(self) -> float:
            return self.width * 2

    config = Config()
    noticed(lambda x, config=config: x * config.scale, lambda: setattr(config, "width", 5.0))


def test_a_function_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "swapped", lambda x: x * 2)
    reason = noticed(
        lambda x: swapped(x),  # type: ignore[name-defined] # noqa: F821
        lambda: monkeypatch.setitem(globals(), "swapped", lambda x: x * 3),
    )
    assert "swapped changed from a function to a function" in reason


def test_a_tensor_in_a_dict_is_replaced() -> None:
    weights = {"w": draw(3, seed=1)}
    noticed(lambda x: x * weights["w"], lambda: weights.update(w=draw(3, seed=2)))


def test_a_tensor_in_a_dict_is_changed_in_place() -> None:
    weights = {"w": draw(3, seed=1)}
    f = gm.compile(lambda x: x * weights["w"])
    f(draw(3))
    weights["w"].zero_()
    assert not numbers(f(draw(3))).any()
    assert len(f.log) == 1


def test_other_names_change_without_a_new_trace() -> None:
    box: Any = Box()
    box.k, box.other = 2.0, 0
    f = gm.compile(lambda x: x * box.k)
    for i in range(4):
        box.other = i
        f(draw(3))
    assert len(f.log) == 1


def test_a_default_list_is_changed() -> None:
    scales = [1.0, 2.0]

    def f(x: gm.Tensor, scales: Any = scales, *, more: Any = (scales,)) -> Any:
        return sum([x * s for s in scales])

    def change() -> None:
        scales[1] = 4.0

    noticed(f, change)
