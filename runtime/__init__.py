"""What a training program is made of: modules, optimizers, data loading, serialization."""
