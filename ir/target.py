"""``Target``: a machine described by a few numbers, all that policies and writers know of it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Target:
    """A machine: what its instructions can do, how wide they are, and what its caches hold.

    ``model`` says how lanes are programmed: ``"vector"`` (each core runs wide instructions) or
    ``"simt"`` (blocks of threads in lockstep warps). Sizes are in bytes; a cache that is not
    there has size 0. ``features`` is LLVM's list, sorted (``"+avx,+avx2"``), so that equal
    machines compare equal.
    """

    name: str
    triple: str
    features: str
    model: Literal["vector", "simt"]
    vector_bits: int = 128
    vector_registers: int = 16
    has_fma: bool = False
    cores: int = 1
    l1: int = 32 << 10
    l2: int = 256 << 10
    l3: int = 0
    line: int = 64
    warp: int = 0
    shared_memory: int = 0
    max_threads: int = 0

    def __post_init__(self) -> None:
        if self.model not in ("vector", "simt"):
            raise ValueError(f"Target: model is {self.model!r}, expected 'vector' or 'simt'")
        if self.vector_bits % 8 or self.vector_bits <= 0:
            raise ValueError(f"Target: vector_bits is {self.vector_bits}, expected whole bytes")

    def lanes(self, itemsize: int) -> int:
        """How many elements of ``itemsize`` bytes are worked on together.

        >>> Target("x86-64-v3", "x86_64-unknown-linux-gnu", "", "vector", 256).lanes(4)
        8
        """
        if self.model == "simt":
            return self.warp
        return max(1, self.vector_bits // (8 * itemsize))

    def has(self, feature: str) -> bool:
        """Whether the machine has an instruction set extension, by LLVM's name (``"f16c"``)."""
        return f"+{feature}" in self.features.split(",")
