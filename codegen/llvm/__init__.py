"""Vector kernels by LLVM: text to object file (``build``), object file to running code (``load``)."""
