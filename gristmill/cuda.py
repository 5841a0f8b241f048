"""The door to ``gristmill.cuda``."""

from .runtime.cuda import device_count, is_available
