"""Running a graph op by op on NumPy arrays: the meaning that compiled code is tested against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import sizes
from .graph import Graph, Value

Arrays = Sequence[np.ndarray]


def interpret(
    graph: Graph, arrays: Arrays, size: Mapping[str, int] | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The outputs, and the values of the writes; sizes that ``size`` lacks are read off the inputs."""
    known = dict(size or {})
    values: dict[Value, np.ndarray] = {}
    for value, array in zip(graph.inputs, arrays, strict=True):
        array = np.asarray(array)
        learn_sizes(value.shape, array.shape, known)
        values[value] = array
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            operands = [values[v] for v in node.operands]
            results = node.op.reference(*operands, **concrete(node.named, known))
            if len(node.results) == 1:
                results = (results,)
            values.update(zip(node.results, results, strict=True))
    return [values[v] for v in graph.outputs], [values[v] for _, v in graph.writes]


def learn_sizes(shape: Sequence[sizes.Dim], found: Sequence[int], known: dict[str, int]) -> None:
    """Read the names that stand alone in ``shape`` off a concrete shape; ValueError if the two do not agree."""
    if len(shape) != len(found):
        raise ValueError(f"expected {len(shape)} dimensions, found {len(found)}")
    for n, m in zip(shape, found, strict=True):
        if isinstance(n, int):
            if n != m:
                raise ValueError(f"expected a size of {n}, found {m}")
        elif sizes.is_name(n) and known.setdefault(str(n), m) != m:
            raise ValueError(f"size {n} is {known[str(n)]} elsewhere, here {m}")


def concrete(value: Any, known: Mapping[str, int]) -> Any:
    """Attributes with numbers in the place of named sizes."""
    if isinstance(value, sizes.Poly):
        return value.evaluate(known)
    if isinstance(value, tuple):
        return tuple([concrete(v, known) for v in value])
    if isinstance(value, dict):
        return {k: concrete(v, known) for k, v in value.items()} if known else value
    return value
