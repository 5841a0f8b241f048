"""GPUs as targets: the numbers of an architecture, from NVIDIA's tables."""

from ...ir.target import Target

SM_90 = Target(
    name="sm_90", triple="nvptx64-nvidia-cuda", features="", model="simt", has_fma=True,
    cores=132, l1=256 << 10, l2=50 << 20, line=128, warp=32, shared_memory=48 << 10,
    max_threads=1024,
)  # fmt: skip
"""An H100; ``shared_memory`` is what a block has without asking for more."""
