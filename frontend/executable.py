"""From a traced graph to something that runs on arrays: the door to passes and code generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..codegen.executable import compile_graph
from ..ir.graph import Graph
from ..ir.sizes import Shape

Program = Callable[[Sequence[Any], dict[str, int]], list[np.ndarray]]


def compile_plain(
    graph: Graph,
    input_strides: Sequence[Shape | None] | None = None,
    output_strides: Sequence[Shape | None] | None = None,
) -> Program:
    """A program that takes arrays (and numbers) in the order of the graph's inputs, and writes the graph's writes in place."""
    executable = compile_graph(graph, input_strides=input_strides, output_strides=output_strides)
    return lambda arrays, sizes: executable(arrays)
