"""Every rewrite rule, fuzzed from its own pattern: before and after give the same bits on random inputs."""

import random

import numpy as np
import pytest
from random_graphs import Maker, differences, random_array

from gristmill.ir import sizes
from gristmill.ir.dtypes import COMPLEX, DTYPES, FLOATS, bool_
from gristmill.ir.errors import OpError
from gristmill.ir.graph import Builder, Value, building
from gristmill.ir.interpret import interpret
from gristmill.ir.op import OPS
from gristmill.ir.verify import verify
from gristmill.passes.rules import RULES, build
from gristmill.passes.rules.index import Index
from gristmill.passes.rules.pattern import Use, Variable

MATCHES, TRIES = 20, 6000
NUMBERS = (0, 1, 2, 0.0, -0.0, 4.0, 0.5, -8.0, 3.0)
DRAWN = {
    "permute": lambda maker, x: {"order": maker.order(len(x.shape))},
    "reshape": lambda maker, x: {
        "shape": maker.rng.choice((x.shape, maker.reshaped(x.shape), (1, *x.shape)))
    },
    "broadcast": lambda maker, x: {"shape": maker.stretched(x.shape)},
    "sum": lambda maker, x: {"axes": maker.axes(len(x.shape))},
    "amax": lambda maker, x: {"axes": maker.axes(len(x.shape))},
    "cast": lambda maker, x: {"dtype": maker.rng.choice(DTYPES)},
    "concatenate": lambda maker, x: {"axis": 0},
}


class Instance:
    """One random use of a pattern, as values of a builder."""

    def __init__(self, rng: random.Random) -> None:
        self.maker, self.builder = Maker(rng, rng.random() < 0.3, False), Builder("instance")
        self.rng, self.bound = rng, {}
        self.maker.dims += [1, 2]
        self.shape = self.maker.shape()
        self.dtype = rng.choice((*DTYPES, *FLOATS, *FLOATS))

    def value(self, pattern, dtype=None, shape=None) -> Value:
        if isinstance(pattern, Use):
            return self.use(pattern)
        if not isinstance(pattern, Variable):
            return OPS["constant"](value=pattern, dtype=dtype or self.dtype, shape=self.shape)
        if pattern.name not in self.bound:
            dtype, shape = dtype or self.dtype, self.shape if shape is None else shape
            if dtype in FLOATS and pattern.name in ("c", "zero") and self.rng.random() < 0.8:
                self.bound[pattern.name] = OPS["constant"](
                    value=self.rng.choice(NUMBERS), dtype=dtype, shape=shape
                )
            else:
                self.bound[pattern.name] = self.builder.input(pattern.name, dtype, shape)
        return self.bound[pattern.name]

    def use(self, pattern: Use) -> Value:
        name, parts = pattern.op.name, pattern.operands
        if name in ("slice", "put"):
            return self.place(pattern)
        if name == "contract":
            values = [self.value(parts[0]), self.value(parts[1])]
            return self.apply(
                pattern, values, {"spec": self.maker.spec(values[0].shape, values[1].shape)}
            )
        values = [
            self.value(p, bool_ if name == "select" and i == 0 else None)
            for i, p in enumerate(parts)
        ]
        return self.apply(
            pattern, values, DRAWN[name](self.maker, values[0]) if name in DRAWN else {}
        )

    def place(self, pattern: Use) -> Value:
        x = self.value(pattern.operands[0])
        whole = {"starts": (0,) * len(x.shape), "stops": x.shape, "steps": (1,) * len(x.shape)}
        at = self.named(pattern, whole if self.rng.random() < 0.3 else self.cut(x.shape))
        if pattern.op.name == "slice":
            return OPS["slice"](x, **at)
        new = pattern.operands[1]
        shape = OPS["slice"].infer(x.type, **at).shape
        return OPS["put"](x, self.value(new, shape=shape), **at)

    def cut(self, shape):
        """A slice that is short in one dimension, so that two are often apart."""
        at = self.maker.cut(shape)
        axis = self.rng.randrange(len(shape)) if shape else None
        if axis is not None and (sizes.least(shape[axis]) or 0) >= 2 and self.rng.random() < 0.6:
            start = self.rng.choice((0, 1))
            at["starts"] = (*at["starts"][:axis], start, *at["starts"][axis + 1 :])
            at["stops"] = (*at["stops"][:axis], start + 1, *at["stops"][axis + 1 :])
        return at

    def named(self, pattern, drawn):
        """The attributes: what the pattern fixes, what is bound already, what was drawn."""
        out = {}
        for name, wanted in zip(pattern.op.attributes, pattern.attributes, strict=True):
            if isinstance(wanted, Variable):
                out[name] = self.bound.setdefault(wanted.name, drawn[name])
            else:
                out[name] = drawn[name]
        return out

    def apply(self, pattern, values, drawn) -> Value:
        return pattern.op(*values, **self.named(pattern, drawn))


def instances(rule, seed):
    """Values at which the rule applies, each with its builder and what the rule binds."""
    rng = random.Random(f"{rule.name}{seed}")
    found = 0
    for _ in range(TRIES):
        instance = Instance(rng)
        try:
            with building(instance.builder):
                root = instance.use(rule.pattern)
        except (OpError, sizes.SizeError, KeyError):
            continue
        bound = rule.match(root.node)
        if bound is not None and instance.maker.small(root.shape):
            found += 1
            yield instance.builder, root, bound
            if found == MATCHES:
                return
    assert found >= 5, f"{rule.name} applied {found} times in {TRIES} tries"


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_rule_keeps_the_meaning(rule):
    index = Index(RULES)
    for number, (builder, root, bound) in enumerate(instances(rule, 0)):
        assert rule in list(index.candidates(root.node))
        after = build(rule.replacement, bound, root, builder.append)
        assert after.type == root.type
        graph = verify(builder.graph([root, after]))
        values = {"n": 2 + number % 3, "m": 3}
        rng = np.random.default_rng(number)
        for special in (0.0, 0.3, 0.9):
            arrays = [
                random_array(
                    rng, v.dtype, tuple(sizes.evaluate(n, values) for n in v.shape), special
                )
                for v in graph.inputs
            ]
            (one, other), _ = interpret(graph, arrays, values)
            if rule.ulp and root.dtype in (*FLOATS, *COMPLEX):
                eps = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-23, "f64": 2.0**-52}[
                    root.dtype.name
                ]
                tiny = (
                    float(np.finfo(one.dtype).smallest_subnormal)
                    if one.dtype.kind == "f"
                    else 1e-40
                )
                np.testing.assert_allclose(
                    one.astype(float),
                    other.astype(float),
                    rtol=rule.ulp * eps,
                    atol=2 * tiny,
                    equal_nan=True,
                )
            else:
                assert not differences(one, other), graph


def test_names_differ():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)


def test_rules_print():
    texts = {rule.name: repr(rule) for rule in RULES}
    assert texts["neg-add"] == "neg-add: add(neg(x), y) -> sub(y, x)"
    assert texts["permute-permute"] == (
        "permute-permute: permute(permute(x, order=inner), order=outer) -> permute(x, order=<inner, outer>)"
    )
