"""The ops, one file per family: each states its types, meaning, derivative and lowering in one place.

Adding an op touches one file here and its test. ``OPS`` has them all by name.
"""

from ..op import OPS
from .contract import contract
from .control import alias, call, detach, input_, overwrite
from .creation import constant, iota, size
from .elementwise import *
from .index import argsort, gather, scatter_add
from .movement import broadcast, concatenate, permute, put, reshape, slice_, unbroadcast
from .random import random_advance, random_bits, uniform
from .reduce import amax, argmax, sum_
