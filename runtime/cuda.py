"""``gristmill.cuda``: this build computes on the CPU, and says so."""

from __future__ import annotations

from typing import Any

from ..frontend.device import device

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "is_available",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "synchronize",
]


def is_available() -> bool:
    """Whether a CUDA device can be used: not in this build."""
    return False


def device_count() -> int:
    """How many CUDA devices can be used: none."""
    return 0


def is_initialized() -> bool:
    """Whether CUDA is in use: no."""
    return False


def manual_seed(seed: int) -> None:
    """Seed the generator of the current device: without devices, nothing to do."""


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all devices: without devices, nothing to do."""


def empty_cache() -> None:
    """Give unused device memory back: without devices, nothing to do."""


def current_device() -> int:
    """The number of the device in use: RuntimeError, there is none."""
    device("cuda")
    return 0


def synchronize(device_or_number: Any = None) -> None:
    """Wait for a device: RuntimeError, there is none."""
    device("cuda")
