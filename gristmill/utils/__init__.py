"""Doors below ``gristmill.utils``."""

from . import data
