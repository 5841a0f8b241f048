"""Functions on tensors, composed of ops in plain Python, one file per family; names and meaning are PyTorch's."""
