"""From a traced graph to something that runs: the door to simplification and code generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..codegen.executable import Executable, compile_graph
from ..ir.graph import Graph
from ..ir.sizes import Shape

Strides = Sequence[Shape | None] | None


def compile_plain(
    graph: Graph, input_strides: Strides = None, output_strides: Strides = None
) -> Executable:
    """The executable of a graph, for inputs and outputs of these layouts (None: row-major)."""
    return compile_graph(graph, input_strides=input_strides, output_strides=output_strides)


def run(executable: Executable, arrays: Sequence[Any], sizes: dict[str, int]) -> list[Any]:
    """Run on arrays and numbers in the order of the inputs; writes happen in place, outputs are new arrays."""
    return executable(arrays)
