"""Kernels for GPUs as CUDA C: ``write`` spells a scheduled nest, ``math`` its scalar functions.

This is text so far: it runs in an emulator in the tests, and nvcc compiles it for ``detect.SM_90``.
Nothing here opens a device or launches a kernel yet. To be compiled with ``-fmad=false``, since
each operation rounds alone; a fused multiply-add is spelled ``fmaf``.
"""
