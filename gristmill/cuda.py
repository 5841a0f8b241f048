"""The door to ``gristmill.cuda``."""

from .runtime.cuda import *
