"""``python -m benchmarks limits [--least] [part of a name]``: figures beside bar and limit."""

import sys
from collections.abc import Iterable, Iterator
from typing import Protocol

from . import (
    coldstart,
    compiling,
    elementwise,
    matmul,
    memory,
    overhead,
    rows,
    steps,
    timing,
)
from .timing import OURS, Row

GROUPS = (matmul, rows, elementwise, overhead, steps, compiling, coldstart, memory)


class Figure(Protocol):
    """Something with a name that can be measured."""

    @property
    def name(self) -> str: ...

    def row(self) -> Row: ...


def chosen(part: str) -> Iterator[Figure]:
    for group in GROUPS:
        yield from (figure for figure in group.figures() if part in figure.name)


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cells(row: Row) -> list[str]:
    taken = row.seen.get(OURS)
    verdict = "-"
    if taken is not None and row.bar is not None:
        verdict = "holds" if taken <= row.bar else f"{taken / row.bar:.2f} x the bar"
    share = f"{row.limit / taken:.0%}" if row.limit is not None and taken else "-"
    others = [
        f"{name} {number(value)}" + (f" ({taken / value:.2f})" if taken and value else "")
        for name, value in row.seen.items()
        if name != OURS
    ]
    figures = [row.unit, number(taken), number(row.bar), number(row.limit), share]
    return [row.figure, row.promise, *figures, verdict, "  ".join(others)]


HEAD = (
    "figure",
    "promise",
    "unit",
    "ours",
    "bar",
    "limit",
    "of it",
    "verdict",
    "others (ours to it)",
)
WIDTHS = (34, 28, 4, 7, 7, 7, 5, 14, 0)


def line(texts: Iterable[str]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(texts, WIDTHS, strict=True)).rstrip()


def limits(part: str) -> None:
    """Measure and print the figures whose name has ``part`` in it."""
    print(line(HEAD), flush=True)
    for figure in chosen(part):
        row = figure.row()
        print(line(cells(row)), flush=True)
        for trouble in row.trouble:
            print(f"    {trouble}", flush=True)


if __name__ == "__main__":
    command, words = sys.argv[1:2], [word for word in sys.argv[2:] if word != "--least"]
    if command != ["limits"]:
        sys.exit(__doc__)
    if "--least" in sys.argv:
        timing.settle = min
    limits(" ".join(words))
