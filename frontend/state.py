"""What is true in this thread right now: the open trace, the grad mode, whether compiled code runs."""

from __future__ import annotations

import threading
from typing import Any

from ..codegen.forks import held_at_fork


class State(threading.local):
    """``trace``: the open trace; ``compiling``: False inside ``with eager()``; ``path``: of the running module."""

    def __init__(self) -> None:
        self.trace: Any = None
        self.grad_enabled = True
        self.compiling = True
        self.path: list[str] = []
        self.transforms = 0


state = State()

tracing = held_at_fork(threading.RLock(), "trace")
"""One trace at a time: it gives captured storages symbolic values, and watches classes."""


class Epoch:
    """A count that moves when something changes that a compiled variant has read."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


epoch = Epoch()


def bump() -> None:
    """Something that a guard has read was changed: variants read everything again."""
    epoch.count += 1
