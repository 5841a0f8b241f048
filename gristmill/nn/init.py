"""The door to ``runtime.nn.init``."""

from ..runtime.nn.init import *
