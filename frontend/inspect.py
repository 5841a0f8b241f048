"""Looking inside a compiled function: ``explain`` says what was compiled and why, ``dump`` shows a stage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..ir.sizes import evaluate, product
from ..ir.source import Span
from .variant import Variant

STAGES = ("trace", "graph", "fused", "loops", "schedule", "nests", "llvm", "asm")
"""The stages that ``dump`` shows, in the order in which they are made."""


class Report:
    """What ``explain()`` gives: ``variants`` as data, a table as text.

    ``kernels``, ``peak_bytes`` and ``costs`` speak of the variant that was used last.
    """

    def __init__(self, name: str, variants: Sequence[Variant], sizes: dict[str, int]) -> None:
        self.name = name
        self.variants = [_described(v, sizes if k == 0 else None) for k, v in enumerate(variants)]

    @property
    def kernels(self) -> list[dict[str, Any]]:
        """Kernels in the order of the program: ops with source lines, bytes, FLOPs, schedule."""
        return self.variants[0]["kernels"] if self.variants else []

    @property
    def peak_bytes(self) -> int:
        """The most memory that a call holds beside what exists before it: arena and outputs."""
        return self.variants[0]["peak"] if self.variants else 0

    @property
    def costs(self) -> dict[str, float]:
        """Seconds per node from trace to plan (``node``), and per new kernel to schedule and write (``kernel``)."""
        return self.variants[0]["costs"] if self.variants else {}

    def __str__(self) -> str:
        lines = [f"{self.name}: {len(self.variants)} variant{'s' * (len(self.variants) != 1)}"]
        for k, v in enumerate(self.variants):
            lines += ["", f"variant {k}: {v['reason']}", *_times(v), *_table(v)]
        return "\n".join(lines)

    __repr__ = __str__


def _times(v: dict[str, Any]) -> list[str]:
    stages = ", ".join(f"{name} {ns / 1e6:.1f}" for name, ns in v["times"].items())
    memory = (
        f"arena {_bytes(v['arena'])}, outputs {_bytes(v['outputs'])}"
        if v["peak"]
        else "sizes named"
    )
    return [
        f"  {v['inputs']}",
        f"  {v['nodes']} ops in {len(v['kernels'])} steps; memory: {memory}",
        f"  compiled in {v['seconds'] * 1e3:.1f} ms: {stages}",
        f"  kernels: {_counted(v)}",
    ]


def _counted(v: dict[str, Any]) -> str:
    """How the kernels were come by."""
    found = v["found"]
    if all(k["kind"] == "host" for k in v["kernels"]):
        return "none"
    words = {"built": "built", "read": "from disk", "shared": "shared with others in memory"}
    counts = [f"{found[k]} {text}" for k, text in words.items() if found.get(k)]
    return ", ".join(counts) or "all of an executable that existed"


def _table(v: dict[str, Any]) -> list[str]:
    head = f"  {'step':<16} {'read':>8} {'written':>8} {'MFLOP':>8} {'est. us':>8}  results = ops  # lines"
    return [head, *map(_row, v["kernels"])] if v["kernels"] else ["  nothing to run"]


def _row(k: dict[str, Any]) -> str:
    ops = list(dict.fromkeys(op for op, _ in k["ops"]))
    lines = ", ".join(dict.fromkeys(str(site).split("  ")[0] for _, site in k["ops"] if site))
    times = f" x{k['segments']}" if k["segments"] > 1 else ""
    read, written = _bytes(k.get("read")), _bytes(k.get("written"))
    flops = "" if k.get("flops") is None else f"{k['flops'] / 1e6:.2f}"
    estimate = "" if k.get("estimated_ns") is None else f"{k['estimated_ns'] / 1e3:.1f}"
    made = _short(list(dict.fromkeys(k["results"])), 3)
    text = f"{made} = {_short(ops, 12)}  # {lines[:60]}" if made else "-"
    return f"  {k['name'] + times:<16} {read:>8} {written:>8} {flops:>8} {estimate:>8}  {text}"


def _short(words: list[str], most: int) -> str:
    """The first few, and that there are more."""
    return ", ".join(words[:most]) + (" ..." if len(words) > most else "")


def _bytes(n: int | None) -> str:
    if n is None:
        return ""
    for unit, size in (("MB", 1 << 20), ("KB", 1 << 10)):
        if n >= size:
            return f"{n / size:.1f}{unit}"
    return f"{n}B"


def _described(v: Variant, sizes: dict[str, int] | None) -> dict[str, Any]:
    """One variant as data; memory and bytes where its sizes are known."""
    known = sizes if sizes is not None else (None if v.traced.sizes else {})
    found = v.executable.explain(known)
    spent = found["times"] if any(v.found.values()) else {}  # nothing, where the executable existed
    times = {"trace": int(v.seconds * 1e9) - sum(spent.values()), **spent}
    arena = found.get("memory", {}).get("arena", 0)
    outputs = 0
    if known is not None:
        outputs = sum(
            evaluate(product(o.shape), known) * o.dtype.itemsize for o in v.traced.outputs
        )
    planning = sum(ns for name, ns in times.items() if name not in ("schedule", "write", "build"))
    writing = times.get("schedule", 0) + times.get("write", 0)
    return {
        "reason": v.reason,
        "seconds": v.seconds,
        "times": times,
        "found": v.found,
        "nodes": len(v.traced.nodes),
        "inputs": ", ".join(f"{i.value.node.attributes[0]}: {i.value.type}" for i in v.inputs[:8])
        + (f" and {len(v.inputs) - 8} more" if len(v.inputs) > 8 else ""),
        "kernels": found["kernels"],
        "reasons": found["reasons"],
        "arena": arena,
        "outputs": outputs,
        "peak": arena + outputs if known is not None else 0,
        "decisions": [(d.text, d.outcome, _line(d.span)) for d in v.decisions],
        "costs": {
            "node": planning / 1e9 / max(len(v.traced.nodes), 1),
            "kernel": writing / 1e9 / max(v.found["built"], 1),
        },
    }


def _line(span: Span | None) -> str:
    return str(span) if span is not None else ""


def dump(v: Variant, stage: str) -> str:
    """The text of one stage of a variant; ValueError lists the stages."""
    if stage == "trace":
        return str(v.traced)
    if stage == "kernels":
        stage = "nests"
    try:
        return str(v.executable.dump(stage))
    except ValueError:
        known = ", ".join(STAGES)
        raise ValueError(f"no stage is called {stage!r}; there are {known}") from None


def dump_all(name: str, number: int, v: Variant) -> None:
    """Write every stage into the folder that GRISTMILL_DUMP names, if it does."""
    folder = os.environ.get("GRISTMILL_DUMP")
    if not folder:
        return
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    place = Path(folder) / f"{safe}.{number}"
    place.mkdir(parents=True, exist_ok=True)
    for k, stage in enumerate(STAGES):
        ending = {"llvm": "ll", "asm": "s"}.get(stage, "txt")
        (place / f"{k}.{stage}.{ending}").write_text(dump(v, stage) + "\n", encoding="utf-8")
