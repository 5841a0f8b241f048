"""The door to ``gristmill.utils.data``."""

from ...runtime.data import *
