"""A naive nest as machine code that can be launched: found by its text, else scheduled, written and built.

What a launch must know beside the code (phases, workspace) lies in the code itself, as a text named ``manifest``, so
that a kernel from the disk needs neither schedule nor writer.
"""

from __future__ import annotations

import ctypes
import json
import time
from dataclasses import dataclass
from typing import Any

from ..ir import sizes
from ..ir.loops import Kernel
from ..ir.sizes import Dim
from ..ir.target import Target
from ..passes.schedule.policy import schedule_kernel
from ..passes.schedule.schedule import steps_text
from . import kernels
from .llvm.build import assembly
from .llvm.load import Code
from .llvm.write import write


@dataclass(frozen=True)
class Phase:
    """One function of a kernel and over how many iterations it is called."""

    address: int
    iterations: Dim
    parallel: bool


@dataclass(frozen=True)
class Launch:
    """Code with what it needs: phases, workspace in bytes, sizes derived from the free ones."""

    code: Code
    phases: tuple[Phase, ...]
    workspace: tuple[Dim, ...]
    derived: tuple[tuple[str, Dim, int], ...]
    steps: str

    def known(self, free: dict[str, int]) -> dict[str, int]:
        """All sizes of the kernel from its free ones."""
        out = dict(free)
        for name, numerator, divisor in self.derived:
            out[name] = sizes.evaluate(numerator, out) // divisor
        return out


def find(kernel: Kernel, text: str, target: Target, times: dict[str, int]) -> Launch:
    """The code of a naive nest with its ``text``; ``times`` counts nanoseconds by stage."""

    begin = time.perf_counter_ns()
    inside = times.get("schedule", 0) + times.get("write", 0)
    found = _read(kernels.find([text], target, lambda: llvm(kernel, target, times)))
    inside = times.get("schedule", 0) + times.get("write", 0) - inside
    times["build"] = times.get("build", 0) + time.perf_counter_ns() - begin - inside
    return found


def llvm(kernel: Kernel, target: Target, times: dict[str, int] | None = None) -> str:
    """The LLVM IR of a naive nest, scheduled, with its manifest."""
    times = {} if times is None else times
    start = time.perf_counter_ns()
    scheduled, steps = schedule_kernel(kernel, target)
    middle = time.perf_counter_ns()
    emitted = write(scheduled, target)
    times["schedule"] = times.get("schedule", 0) + middle - start
    times["write"] = times.get("write", 0) + time.perf_counter_ns() - middle
    manifest = {
        "phases": [[p.symbol, str(p.iterations), p.parallel] for p in emitted.phases],
        "workspace": [str(n) for _, n in emitted.workspace],
        "derived": [
            [s.name, str(s.numerator), s.divisor]
            for s in scheduled.sizes
            if s.numerator is not None
        ],
        "steps": steps_text(steps),
    }
    return f"{emitted.text}\n{_constant(json.dumps(manifest))}\n"


def scheduled(kernel: Kernel, target: Target) -> tuple[Kernel, str]:
    """The nest after its schedule, and the schedule as text."""
    nest, steps = schedule_kernel(kernel, target)
    return nest, steps_text(steps)


def machine_code(kernel: Kernel, target: Target) -> str:
    """The assembly of a naive nest."""
    return assembly(llvm(kernel, target), target)


def _constant(text: str) -> str:
    data = text.encode() + b"\0"
    spelled = "".join(chr(c) if 32 <= c < 127 and c not in (34, 92) else f"\\{c:02x}" for c in data)
    return f'@manifest = constant [{len(data)} x i8] c"{spelled}"'


def _read(code: Code) -> Launch:
    found: dict[str, Any] = json.loads(ctypes.string_at(code.address("manifest")))
    phases = tuple([Phase(code.address(s), _dim(n), p) for s, n, p in found["phases"]])
    derived = tuple([(n, _dim(p), d) for n, p, d in found["derived"]])
    return Launch(code, phases, tuple(map(_dim, found["workspace"])), derived, found["steps"])


def _dim(text: str) -> Dim:
    return sizes.dim(sizes.parse(text))
