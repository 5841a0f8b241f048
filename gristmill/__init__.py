"""Gristmill: a tracing tensor compiler, from eager Python to LLVM IR and CUDA C kernels."""

from .frontend.public import *  # noqa: F403

__version__ = "0.1.0"
