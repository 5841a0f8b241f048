"""Where tensors live. This build computes on the CPU; naming another device is an error that says so."""

from __future__ import annotations

from typing import Any


class Device:
    """A place for memory: ``device("cpu")``.

    >>> device("cpu").type
    'cpu'
    """

    __slots__ = ("index", "type")

    def __init__(self, type: str, index: int | None = None) -> None:
        self.type, self.index = type, index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.type, self.index or 0) == (
            other.type,
            other.index or 0,
        )

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device(type={self.type!r}{'' if self.index is None else f', index={self.index}'})"


CPU = Device("cpu")


def device(name: Any, index: int | None = None) -> Device:
    """The device of a name; RuntimeError for one that this machine or this build does not have."""
    if isinstance(name, Device):
        return name
    if isinstance(name, int):
        name, index = "cuda", name
    kind, _, number = str(name).partition(":")
    if number:
        index = int(number)
    if kind == "cpu":
        return CPU if index is None else Device("cpu", index)
    if kind == "cuda":
        raise RuntimeError(
            'no CUDA device can be used here (cuda.is_available() is False): use device("cpu")'
        )
    raise RuntimeError(f"there is no device {name!r}: use 'cpu'")
