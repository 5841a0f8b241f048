"""What the user writes with: tensors, eager ops, autograd, tracing, compiling, transforms."""
