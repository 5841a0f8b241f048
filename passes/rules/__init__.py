"""Rewrite rules as data, by subject; ``simplify`` applies them and a test fuzzes each one.

``RULES`` has them all. ``candidates`` is their index: by the op at the head, then by the op that made an operand.
"""

from .arithmetic import ARITHMETIC, LOGIC, POWERS, SELECTION
from .casts import CASTS
from .contraction import CONTRACTIONS
from .movement import IDENTITIES, PUTS, VIEWS
from .pattern import Rule, build, rule
from .reduction import REDUCTIONS

RULES: tuple[Rule, ...] = (
    *IDENTITIES, *ARITHMETIC, *POWERS, *LOGIC, *SELECTION, *CASTS, *VIEWS, *PUTS, *REDUCTIONS, *CONTRACTIONS,
)  # fmt: skip
