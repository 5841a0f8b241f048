"""The door to ``runtime.nn``."""

from ..runtime.nn import *
