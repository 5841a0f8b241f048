"""The door to ``runtime.nn.functional``."""

from ..runtime.nn.functional import *
