"""Simplification of whole graphs: short texts before and after, and random graphs that keep their meaning."""

import textwrap

import pytest
from random_graphs import differences, random_arrays, random_graph, random_sizes, shrink

from gristmill.ir import ops
from gristmill.ir.graph import Builder, building
from gristmill.ir.interpret import interpret
from gristmill.ir.op import OPS
from gristmill.ir.parse import parse_graph
from gristmill.ir.source import Site
from gristmill.ir.verify import verify
from gristmill.passes.eliminate_dead import eliminate_dead
from gristmill.passes.rules import RULES
from gristmill.passes.rules.index import Index
from gristmill.passes.simplify import simplify

EXACT = Index(rule for rule in RULES if not rule.ulp)


def broken(graph, seed, sizes) -> str:
    """What differs after simplification by the rules that keep every bit, if anything."""
    simple = verify(simplify(graph, index=EXACT))
    arrays = random_arrays(graph, seed, sizes)
    before, after = interpret(graph, arrays, sizes), interpret(simple, arrays, sizes)
    pairs = zip((*before[0], *before[1]), (*after[0], *after[1]), strict=True)
    return next((found for a, b in pairs if (found := differences(a, b))), "")


def check(seeds):
    for seed in seeds:
        graph = random_graph(seed, symbolic=seed % 2 == 1)
        sizes = random_sizes(graph, seed)
        if wrong := broken(graph, seed, sizes):
            small = shrink(graph, lambda g, seed=seed, sizes=sizes: bool(broken(g, seed, sizes)))
            pytest.fail(f"seed {seed}: {wrong}\n{small}\n{simplify(small)}")


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_random_graphs_keep_their_meaning(start):
    check(range(start, start + 50))


@pytest.mark.full
@pytest.mark.parametrize("start", range(1000, 6000, 500))
def test_many_random_graphs_keep_their_meaning(start):
    check(range(start, start + 500))


def test_a_simple_graph_stays_simple():
    """A second sweep finds nothing: the text stays."""
    for seed in range(80):
        once = simplify(random_graph(seed, symbolic=seed % 2 == 1))
        assert str(simplify(once)) == str(once), seed


def lines(graph) -> str:
    """The body of a graph, without its head and its closing brace."""
    return textwrap.dedent("\n".join(str(graph).splitlines()[1:-1]))


def simplified(inputs: str, body: str) -> str:
    return lines(verify(simplify(verify(parse_graph(f"graph f({inputs}) {{\n{body}\n}}")))))


def test_constants_fold_and_move_right():
    found = simplified(
        "%x: f32[3]",
        """
      %0: f32[] = constant() value=2.0 dtype=f32 shape=()
      %1: f32[] = sqrt(%0)
      %2: f32[3] = broadcast(%1) shape=(3,)
      %3: f32[3] = mul(%2, %x)
      return %3""",
    )
    assert found == textwrap.dedent("""\
        %0: f32[3] = constant() value=1.4142135381698608 dtype=f32 shape=(3,)
        %1: f32[3] = mul(%x, %0)
        return %1""")


def test_transposes_go_into_contractions():
    found = simplified(
        "%x: f32[n, 4], %w: f32[5, 4]",
        """
      %0: f32[4, 5] = permute(%w) order=(1, 0)
      %1: f32[n, 5] = contract(%x, %0) spec="bi,io->bo"
      %2: f32[5, n] = permute(%1) order=(1, 0)
      return %2""",
    )
    assert found == textwrap.dedent("""\
        %0: f32[5, n] = contract(%x, %w) spec="bi,oi->ob"
        return %0""")


def test_division_by_a_power_of_two():
    found = simplified(
        "%x: f32[3]",
        """
      %0: f32[3] = constant() value=8.0 dtype=f32 shape=(3,)
      %1: f32[3] = div(%x, %0)
      %2: f32[3] = constant() value=3.0 dtype=f32 shape=(3,)
      %3: f32[3] = div(%1, %2)
      return %3""",
    )
    assert found == textwrap.dedent("""\
        %0: f32[3] = constant() value=0.125 dtype=f32 shape=(3,)
        %1: f32[3] = mul(%x, %0)
        %2: f32[3] = constant() value=3.0 dtype=f32 shape=(3,)
        %3: f32[3] = div(%1, %2)
        return %3""")


def test_equal_nodes_merge_in_either_order():
    found = simplified(
        "%x: f32[3], %y: f32[3]",
        """
      %0: f32[3] = mul(%x, %y)
      %1: f32[3] = mul(%y, %x)
      %2: f32[3] = sub(%0, %1)
      %3: f32[3] = sub(%1, %0)
      %4: f32[3] = maximum(%2, %3)
      return %4""",
    )
    assert found == textwrap.dedent("""\
        %0: f32[3] = mul(%x, %y)
        %1: f32[3] = sub(%0, %0)
        return %1""")


def test_zeros_of_both_signs_stay_apart():
    """``x + 0.0`` makes +0.0 of -0.0; ``x + -0.0`` is ``x``."""
    found = simplified(
        "%x: f32[]",
        """
      %0: f32[] = constant() value=0.0 dtype=f32 shape=()
      %1: f32[] = constant() value=-0.0 dtype=f32 shape=()
      %2: f32[] = add(%x, %0)
      %3: f32[] = add(%x, %1)
      return %2, %3""",
    )
    assert found == textwrap.dedent("""\
        %0: f32[] = constant() value=0.0 dtype=f32 shape=()
        %1: f32[] = add(%x, %0)
        return %1, %x""")


def test_a_long_chain_of_writes_is_searched_a_little():
    """A read of what was written long ago looks back some steps, not all: the sweep stays linear."""
    b = Builder("f")
    with building(b):
        x, y = b.input("x", "f32", (400,)), b.input("y", "f32", (1,))
        at = [{"starts": (i,), "stops": (i + 1,), "steps": (1,)} for i in range(400)]
        for i in range(399):
            x = ops.put(x, ops.exp(ops.slice_(x, **at[i + 1])) + y, **at[i])
        graph = b.graph([ops.slice_(x, **at[398]), ops.slice_(x, **at[0])])
    recent, old = simplify(graph).outputs
    assert (recent.node.op.name, old.node.op.name) == ("add", "slice")


def test_sums_of_floats_are_not_regrouped():
    body = "%0: {0}[2] = sum(%x) axes=(1,)\n%1: {0}[] = sum(%0) axes=(0,)\nreturn %1"
    assert simplified("%x: f32[2, 3]", body.format("f32")).count("sum") == 2
    assert (
        simplified("%x: i32[2, 3]", body.format("i32"))
        == "%0: i32[] = sum(%x) axes=(0, 1)\nreturn %0"
    )


def test_draws_of_one_state_merge_and_dead_ones_go():
    found = simplified(
        "%s: i64[2] state",
        """
      %0: i64[3] = random_bits(%s) shape=(3,) bits=32
      %1: i64[3] = random_bits(%s) shape=(3,) bits=32
      %2: i64[4] = random_bits(%s) shape=(4,) bits=32
      %3: i64[2] = random_advance(%s) count=19
      %4: i64[3] = bitwise_xor(%0, %1)
      return %4; write %s = %3""",
    )
    assert found == textwrap.dedent("""\
        %0: i64[2] = random_advance(%s) count=19
        %1: i64[3] = constant() value=0 dtype=i64 shape=(3,)
        return %1; write %s = %0""")


def test_sites_stay():
    b = Builder("f")
    x = b.input("x", "f32", (3,))
    values = [x]
    for line, name in enumerate(("neg", "neg", "exp", "neg", "neg", "sqrt"), 1):
        b.site = Site(f"a.py:{line}", "block.0", "backward")
        values.append(b.append(OPS[name], values[-1:], ()))
    b.site = Site("a.py:9")
    values.append(b.append(OPS["sub"], (values[-1], b.append(OPS["neg"], (x,), ())), ()))
    found = simplify(b.graph(values[-1:]))
    assert [(n.op.name, str(n.site)) for n in found.nodes] == [
        ("exp", "a.py:3  block.0  (backward)"), ("sqrt", "a.py:6  block.0  (backward)"), ("add", "a.py:9"),
    ]  # fmt: skip


def test_untouched_nodes_are_kept():
    graph = parse_graph(
        "graph f(%x: f32[3]) {\n%0: f32[3] = exp(%x)\n%1: f32[3] = sin(%0)\nreturn %1\n}"
    )
    found = simplify(graph)
    assert found.nodes == graph.nodes
    assert eliminate_dead(graph) is graph


def test_rules_are_counted():
    counts = {}
    simplify(
        parse_graph(
            "graph f(%x: f32[3]) {\n%0: f32[3] = neg(%x)\n%1: f32[3] = neg(%0)\nreturn %1\n}"
        ),
        counts,
    )
    assert counts == {"neg-neg": 1}
