"""Gristmill: a tracing tensor compiler, from eager Python to LLVM IR and CUDA C kernels."""

__version__ = "0.1.0"

from .frontend import methods  # noqa: I001 (attaches the methods of Tensor before anything uses them)
from .codegen.llvm.threads import get_num_threads, set_num_threads
from .frontend.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from .frontend.compile import compile, eager
from .frontend.device import Device, device
from .frontend.dtype import (
    finfo,
    get_default_dtype,
    iinfo,
    promote_types,
    result_type,
    set_default_dtype,
)
from .frontend.functions.arithmetic import *
from .frontend.functions.creation import *
from .frontend.functions.indexing import argsort, gather, index_select, masked_fill, scatter_add
from .frontend.functions.linalg import bmm, dot, einsum, matmul, mm, mv, outer
from .frontend.functions.nn import dropout, log_softmax, softmax
from .frontend.functions.reduction import *
from .frontend.functions.shape import *
from .frontend.methods import allclose, equal
from .frontend.random import (
    Generator,
    bernoulli,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from .frontend.tensor import Size, Tensor
from .frontend.transforms import grad, value_and_grad, vjp
from .ir.dtypes import (
    DType,
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from .ir.dtypes import bool_ as bool
from .ir.dtypes import complex64 as cfloat
from .ir.dtypes import complex128 as cdouble
from .ir.dtypes import float16 as half
from .ir.dtypes import float32 as float
from .ir.dtypes import float64 as double
from .ir.dtypes import int16 as short
from .ir.dtypes import int32 as int
from .ir.dtypes import int64 as long
from .ir.errors import (
    CompileError,
    DTypeError,
    GradError,
    GraphError,
    GristmillError,
    IndexRangeError,
    LeakedError,
    OpError,
    ScheduleError,
    ShapeError,
    TraceError,
)
from . import autograd, cuda, func, nn, optim, utils
from .runtime.serialize import load, save
