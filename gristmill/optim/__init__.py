"""The door to ``runtime.optim``."""

from ..runtime.optim import *
