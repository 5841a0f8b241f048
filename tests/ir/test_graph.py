"""Graphs as values: their text, their laws, and how they run."""

import textwrap

import numpy as np
import pytest

from gristmill.ir import ops
from gristmill.ir.errors import GraphError, OpError
from gristmill.ir.graph import Builder, Graph, Node, building, make_input
from gristmill.ir.interpret import interpret
from gristmill.ir.op import OPS, Op, Type, op_named
from gristmill.ir.parse import parse_graph, parse_type
from gristmill.ir.source import NOWHERE, Site
from gristmill.ir.text import literal
from gristmill.ir.verify import verify

TEXT = textwrap.dedent("""\
    graph step(%x: f32[n, 3], %lr: f64[] number, %w: f32[3] state) {
      %0: f32[n, 3] = broadcast(%w) shape=(n, 3)                              # train.py:3  net.0
      %1: f32[n, 3] = mul(%x, %0)                                             # train.py:4
      %2: f32[3] = sum(%1) axes=(0,)                                          # -  net.1  (backward)
      %3: f32[] = constant() value=-0.0 dtype=f32 shape=()
      return %1, %x; write %w = %2
    }""")


def test_text_reads_back():
    graph = verify(parse_graph(TEXT))
    assert str(graph) == TEXT
    assert graph.sizes == ["n"] and len(graph) == 4
    assert [v.node.attributes for v in graph.inputs] == [("x", "argument"), ("lr", "number"), ("w", "state")]
    assert graph.nodes[0].site == Site("train.py:3", "net.0") and graph.nodes[3].site == NOWHERE
    assert graph.nodes[2].site == Site(None, "net.1", "backward")


def test_it_runs():
    x, w = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2, 3], np.float32)
    outputs, written = interpret(parse_graph(TEXT), [x, 0.1, w])
    np.testing.assert_array_equal(outputs[0], x * w)
    np.testing.assert_array_equal(written[0], (x * w).sum(0))
    with pytest.raises(ValueError, match="expected a size of 3, found 2"):
        interpret(parse_graph(TEXT), [x[:, :2], 0.1, w])
    with pytest.raises(ValueError, match="expected 1 dimensions, found 2"):
        interpret(parse_graph(TEXT), [x, 0.1, x])


@pytest.mark.parametrize(
    "value",
    [1, -3, 0.5, -0.0, 1e-30, float("inf"), float("-inf"), True, None, "a, \"b\" (c)", (), (1,), ((1, 2), (3.0,)),
     2 - 1j, ops.constant, np.float64(0.5), parse_type("f32[2*n - 1, m]").shape],
)  # fmt: skip
def test_literals_read_back(value):
    if isinstance(value, Op):
        with pytest.raises(TypeError, match="has no text"):
            literal(value)
        return
    b = Builder("f")
    note = Note()
    try:
        with building(b):
            note(value=value)
        text = str(b.graph([]))
        again = parse_graph(text)
        assert repr(again.nodes[0].attributes[0]) == repr(float(value) if isinstance(value, np.float64) else value)
        assert str(again) == text
    finally:
        del OPS["note"]


class Note(Op):
    """An op of no operands, for what attributes may be."""

    name, attributes = "note", ("value",)

    def infer(self, value):
        return parse_type("f32[]")


def test_regions_read_back():
    inner = parse_graph("graph g(%a: f32[2]) {\n%0: f32[2] = exp(%a)\n%1: f32[2] = neg(%a)\nreturn %0, %1\n}")
    b = Builder("outer")
    with building(b):
        x = b.input("x", "f32", (2,))
        y, z = ops.call(x, graph=inner)
        graph = verify(b.graph([y + z]))
    text = str(graph)
    assert str(verify(parse_graph(text))) == text
    (found,), _ = interpret(graph, [np.array([0, 1], np.float32)])
    np.testing.assert_allclose(found, np.exp([0, 1]) - [0, 1], rtol=1e-6)
    with building(b), pytest.raises(OpError, match=r"g takes \(f32\[2\]\), not \(f32\[2\], f32\[2\]\)"):
        ops.call(x, x, graph=inner)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%1: f32[3] = exp(%9)", "line 2: %9 is not defined above"),
        ("%1: f32[3] = expo(%x)", "line 2: no op is called 'expo'"),
        ("%1: f32[4] = exp(%x)", r"line 2: exp gives f32\[3\], not f32\[4\]"),
        ("what is this", "line 2: not a node"),
        ("return %y", "line 2: %y is not defined above"),
    ],
)
def test_what_does_not_read(line, words):
    with pytest.raises(GraphError, match=words):
        parse_graph(f"graph f(%x: f32[3]) {{\n{line}\nreturn %x\n}}")


def test_what_is_no_graph():
    with pytest.raises(GraphError, match="expected `graph name"):
        parse_graph("kernel f() {")
    with pytest.raises(GraphError, match="has no return"):
        parse_graph("graph f(%x: f32[3]) {\n%0: f32[3] = exp(%x)")


def made():
    b = Builder("f")
    with building(b):
        x = b.input("x", "f32", (3,))
        y = ops.exp(x)
        z = ops.neg(y)
    return b, x, y, z


def test_verify_finds_what_is_wrong():
    b, x, y, z = made()
    verify(b.graph([z]))
    wrong = {
        "uses a f32\\[3\\] before it is made": Graph("f", [x], [z.node, y.node], [z]),
        "returns a f32\\[3\\] that it does not make": Graph("f", [x], [], [y]),
        "stands among the inputs but was made by exp": Graph("f", [y], [], [y]),
        "input %x stands twice": Graph("f", [x, x], [], [x]),
        "a write goes to something that is no input": Graph("f", [x], [y.node], [y], [(y, x)]),
        "or twice to one": Graph("f", [x], [y.node], [y], [(x, y), (x, y)]),
        "exp stands twice": Graph("f", [x], [y.node, y.node], [y]),
    }
    for words, graph in wrong.items():
        with pytest.raises(GraphError, match=words):
            verify(graph)
    other = make_input("w", Type(x.dtype, (4,)), "state")
    with pytest.raises(GraphError, match=r"writes f32\[3\] to %w: f32\[4\]"):
        verify(Graph("f", [x, other], [y.node], [], [(other, y)]))
    lie = Node(OPS["exp"], (x,), (), [Type(x.dtype, (4,))])
    with pytest.raises(GraphError, match=r"exp is f32\[4\], its rule says f32\[3\]"):
        verify(Graph("f", [x], [lie], lie.results))


def test_inputs_have_a_kind():
    with pytest.raises(GraphError, match="argument, state, number, not 'captured'"):
        make_input("x", parse_type("f32[]"), "captured")


def test_ops_have_names_of_their_own():
    with pytest.raises(ValueError, match="there already is an op 'exp'"):
        type("Again", (Op,), {"name": "exp"})()
    with pytest.raises(KeyError, match="no op is called 'exq'"):
        op_named("exq")


def test_as_networkx():
    b, _, y, z = made()
    found = b.graph([z]).to_networkx()
    assert [found.nodes[n]["op"] for n in found] == ["input", "exp", "neg"]
    assert found.edges[y.node, z.node, 0] == {"operand": 0, "type": "f32[3]"}


def test_traced_bounds_are_accepted():
    """A slice of three elements of ``n`` needs ``n >= 3``: decided when it was traced, not asked again."""
    text = "graph f(%x: f32[n]) {\n  %0: f32[3] = slice(%x) starts=(0,) stops=(3,) steps=(1,)\n  return %0\n}"
    assert str(verify(parse_graph(text))) == text
    with pytest.raises(GraphError, match="add: whether m == n depends"):
        verify(mismatched())


def mismatched():
    b = Builder("f")
    x, y = b.input("x", "f32", ("n",)), b.input("y", "f32", ("m",))
    node = Node(OPS["add"], (x, y), (), [x.type])
    return Graph("f", [x, y], [node], node.results)
