"""The top of the clone: the rooms lie here, and ``gristmill/`` opens to them."""
