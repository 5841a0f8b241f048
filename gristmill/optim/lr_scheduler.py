"""The door to ``runtime.optim.lr_scheduler``."""

from ..runtime.optim.lr_scheduler import *
