"""``gristmill.cuda``: this build computes on the CPU, and says so."""

from __future__ import annotations


def is_available() -> bool:
    """Whether a CUDA device can be used: not in this build."""
    return False


def device_count() -> int:
    """How many CUDA devices can be used: none."""
    return 0
