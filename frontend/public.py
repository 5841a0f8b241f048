"""The names of ``import gristmill as gm`` that this floor provides."""

from ..ir.dtypes import (
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int16,
    int32,
    int64,
)
from .functions.arithmetic import *
from .functions.creation import *
from .functions.reduction import *
from .functions.shape import *

float = float32
double = float64
half = float16
long = int64
int = int32
short = int16
bool = bool_
cfloat = complex64
cdouble = complex128
