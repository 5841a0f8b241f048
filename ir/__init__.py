"""The languages of the compiler and their words: dtypes, sizes, ops, graphs, loop nests, targets."""
