"""Vector kernels by LLVM: text to object file (``build``), object to running code (``load``)."""
