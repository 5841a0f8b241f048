"""The door to ``runtime.nn.parameter``."""

from ..runtime.nn.parameter import *
