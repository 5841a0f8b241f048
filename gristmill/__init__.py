"""Gristmill: a tracing tensor compiler, from eager Python to LLVM IR and CUDA C kernels."""

__version__ = "0.1.0"
