"""A value that an output of another layout is made in may still be read: by a write-back, by another output."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.codegen.executable import compile_graph
from gristmill.ir.interpret import interpret
from gristmill.ir.parse import parse_graph

HEAD = """graph g(%x: f32[3, 4], %w: f32[4, 3] state) {
  %0: f32[4, 3] = permute(%x) order=(1, 0)
  %1: f32[4, 3] = add(%0, %w)
"""
TAILS = {
    "written back": "  return %1; write %w = %1\n}",
    "written back turned": "  %2: f32[3, 4] = permute(%1) order=(1, 0)\n  return %1; write %x = %2\n}",
    "given twice": "  %2: f32[4, 3] = alias(%1)\n  return %1, %2\n}",
    "given turned": "  %2: f32[3, 4] = permute(%1) order=(1, 0)\n  return %1, %2\n}",
    "given flat": "  %2: f32[12] = reshape(%1) shape=(12,)\n  return %1, %2\n}",
}


@pytest.mark.parametrize(
    "options", [{}, {"interpret": True}, {"fuse": False}], ids=["machine", "nests", "unfused"]
)
@pytest.mark.parametrize("case", TAILS)
def test_output_of_another_layout(case: str, options: dict[str, bool]) -> None:
    graph = parse_graph(HEAD + TAILS[case])
    arrays = [
        np.random.default_rng(i).standard_normal(v.shape).astype(np.float32)
        for i, v in enumerate(graph.inputs)
    ]
    outputs, writes = interpret(graph, [a.copy() for a in arrays])
    strides = [(1, 4), *[None] * (len(graph.outputs) - 1)]
    found = compile_graph(graph, output_strides=strides, options=options)(arrays)
    for want, got in zip(outputs, found, strict=True):
        assert np.array_equal(want, got)
    assert found[0].strides == (4, 16)
    for (x, _), want in zip(graph.writes, writes, strict=True):
        assert np.array_equal(arrays[graph.inputs.index(x)], want)
