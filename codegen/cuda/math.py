"""How CUDA C spells dtypes, constants and the scalar functions of the loop language."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.dtypes import DType
from ...ir.errors import DTypeError

C_TYPES = {
    "bool": "bool", "u8": "unsigned char", "i8": "signed char", "i16": "short", "i32": "int",
    "i64": "long long", "f16": "__half", "bf16": "__nv_bfloat16", "f32": "float", "f64": "double",
}  # fmt: skip

HEADERS = {"f16": "#include <cuda_fp16.h>", "bf16": "#include <cuda_bf16.h>"}

# Placeholders: {0} {1} {2} the operands, {T} their type, {f} "f" for float,
# {U} and {W} the unsigned and the signed integer that arithmetic is done in.
_COMPARE = {
    "eq": "({0} == {1})", "ne": "({0} != {1})", "lt": "({0} < {1})", "le": "({0} <= {1})",
    "gt": "({0} > {1})", "ge": "({0} >= {1})",
}  # fmt: skip
_FLOAT = _COMPARE | {
    "add": "({0} + {1})", "sub": "({0} - {1})", "mul": "({0} * {1})", "div": "({0} / {1})",
    "neg": "(-{0})", "abs": "fabs{f}({0})", "floor": "floor{f}({0})", "ceil": "ceil{f}({0})",
    "trunc": "trunc{f}({0})", "round": "rint{f}({0})", "minnum": "fmin{f}({0}, {1})",
    "maxnum": "fmax{f}({0}, {1})", "fma": "fma{f}({0}, {1}, {2})", "exp": "exp{f}({0})",
    "log": "log{f}({0})", "log1p": "log1p{f}({0})", "expm1": "expm1{f}({0})",
    "sqrt": "sqrt{f}({0})", "rsqrt": "(1 / sqrt{f}({0}))", "sin": "sin{f}({0})",
    "cos": "cos{f}({0})", "tanh": "tanh{f}({0})", "erf": "erf{f}({0})", "pow": "pow{f}({0}, {1})",
    "isnan": "(bool)isnan({0})",
}  # fmt: skip
_INTEGER = _COMPARE | {
    "add": "({T})(({U}){0} + ({U}){1})", "sub": "({T})(({U}){0} - ({U}){1})",
    "mul": "({T})(({U}){0} * ({U}){1})", "fma": "({T})(({U}){0} * ({U}){1} + ({U}){2})",
    "neg": "({T})(0 - ({U}){0})", "and": "({0} & {1})", "or": "({0} | {1})", "xor": "({0} ^ {1})",
    "not": "({T})~{0}",
}  # fmt: skip
_BOOL = _COMPARE | {
    "add": "({0} || {1})", "mul": "({0} && {1})", "and": "({0} && {1})", "or": "({0} || {1})",
    "xor": "({0} != {1})", "not": "(!{0})", "max": "({0} || {1})", "min": "({0} && {1})",
}  # fmt: skip

# Functions that stand before the kernels of a text where they are used, once for each type.
_FLOAT_FUNCTIONS = {
    "max": "({T} a, {T} b) {{\n  return a > b ? a : a < b ? b : a == b && a != 0 ? a : a + b;\n}}",
    "min": "({T} a, {T} b) {{\n"
    "  return a < b ? a : a > b ? b : a == b && a != 0 ? a : -((-a) + (-b));\n}}",
    "sigmoid": "({T} x) {{\n"
    "  {T} e = exp{f}(-fabs{f}(x));\n  return (x < 0 ? e : ({T})1) / (1 + e);\n}}",
    "floordiv": "({T} a, {T} b) {{\n"
    "  if (b == 0) return a / b;\n"
    "  {T} rest = fmod{f}(a, b), q = (a - rest) / b;\n"
    "  if (rest != 0 && (b < 0) != (rest < 0)) q -= 1;\n"
    "  if (q == 0) return copysign{f}(({T})0, a / b);\n"
    "  {T} down = floor{f}(q);\n  return q - down > ({T})0.5 ? down + 1 : down;\n}}",
    "rem": "({T} a, {T} b) {{\n"
    "  {T} rest = fmod{f}(a, b);\n  if (b == 0) return rest;\n"
    "  if (rest == 0) return copysign{f}(({T})0, b);\n"
    "  return (b < 0) != (rest < 0) ? rest + b : rest;\n}}",
}
_INTEGER_FUNCTIONS = {
    "max": "({W} a, {W} b) {{\n  return a > b ? a : b;\n}}",
    "min": "({W} a, {W} b) {{\n  return a < b ? a : b;\n}}",
    "abs": "({W} a) {{\n  return ({T})(a < 0 ? 0 - ({U})a : ({U})a);\n}}",
    "floordiv": "({W} a, {W} b) {{\n"
    "  if (b == 0) return 0;\n  if (b == -1) return ({T})(0 - ({U})a);\n"
    "  return ({T})(a / b - (a % b != 0 && (a < 0) != (b < 0)));\n}}",
    "rem": "({W} a, {W} b) {{\n"
    "  if (b == 0 || b == -1) return 0;\n"
    "  {W} rest = a % b;\n"
    "  return ({T})(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);\n}}",
    "shl": "({W} a, {W} b) {{\n"
    "  return ({U})b < {bits} ? ({T})(({U})a << b) : ({T})0;\n}}",
    "shr": "({W} a, {W} b) {{\n  return ({T})(a >> (({U})b < {bits} ? (int)b : {bits} - 1));\n}}",
    "pow": "({W} a, {W} b) {{\n"
    "  if (b < 0) return ({T})(a == 1 || (a == -1 && b % 2 == 0) ? 1 : a == -1 ? -1 : 0);\n"
    "  {U} out = 1, by = ({U})a;\n"
    "  for (; b > 0; b >>= 1, by *= by) if (b & 1) out *= by;\n  return ({T})out;\n}}",
    "philox": "({W} key, {W} counter, {W} word) {{\n"
    "  unsigned k0 = (unsigned)key, k1 = (unsigned)(key >> 32);\n"
    "  unsigned c[4] = {{(unsigned)counter, (unsigned)(counter >> 32), 0, 0}};\n"
    "  for (int round = 0; round < 10; round++) {{\n"
    "    {U} p = ({U})c[0] * 0xD2511F53u, q = ({U})c[2] * 0xCD9E8D57u;\n"
    "    c[0] = (unsigned)(q >> 32) ^ c[1] ^ k0;\n    c[1] = (unsigned)q;\n"
    "    c[2] = (unsigned)(p >> 32) ^ c[3] ^ k1;\n    c[3] = (unsigned)p;\n"
    "    k0 += 0x9E3779B9u;\n    k1 += 0xBB67AE85u;\n  }}\n"
    "  unsigned low = word & 1 ? c[1] : c[0], high = word & 1 ? c[3] : c[2];\n"
    "  return word & 2 ? high : low;\n}}",
}  # fmt: skip
_TO_INTEGER = (
    "static __device__ {I} gm_{name}({T} x) {{\n"
    "  return x != x ? ({I})0 : x >= {high} ? {most} : x <= {low} ? {least} : ({I})x;\n}}"
)
_BITS = (
    "static __device__ {I} gm_{name}({T} x) {{\n"
    "  {I} out;\n  memcpy(&out, &x, sizeof out);\n  return out;\n}}"
)

Functions = dict[str, str]


def spell(fn: str, args: Sequence[str], operand: DType, result: DType, functions: Functions) -> str:
    """A scalar function of operands that are spelled already; adds to ``functions`` what it calls."""
    if fn == "select":
        return f"({args[0]} ? {args[1]} : {args[2]})"
    if fn == "cast":
        return _cast(args[0], operand, result, functions)
    words = {"T": C_TYPES[operand.name], "U": _unsigned(operand), "bits": operand.bits}
    words["W"] = "long long" if operand.itemsize == 8 else "int"
    words["f"] = "f" if operand.name == "f32" else ""
    if fn == "bitcast":
        name = f"bits_{operand.name}_{result.name}"
        functions[name] = _BITS.format(name=name, I=C_TYPES[result.name], **words)
        return f"gm_{name}({args[0]})"
    inline = _BOOL if operand.kind == "b" else _INTEGER if operand.kind in "iu" else _FLOAT
    if fn in inline:
        return inline[fn].format(*args, **words)
    known = _FLOAT_FUNCTIONS if operand.kind == "f" else _INTEGER_FUNCTIONS
    body = known.get(fn.removesuffix("num"))
    if body is None:
        raise DTypeError(f"CUDA C has no spelling of {fn} for {operand.name}")
    name = f"{fn}_{operand.name}"
    functions[name] = f"static __device__ {words['T']} gm_{name}{body.format(**words)}"
    return f"gm_{name}({', '.join(args)})"


def _unsigned(dtype: DType) -> str:
    return "unsigned long long" if dtype.itemsize == 8 else "unsigned"


def _cast(x: str, source: DType, to: DType, functions: Functions) -> str:
    """Rounded to floats; floats truncated to integers, outside their range to the nearest bound."""
    if source.name in ("f16", "bf16"):
        x = f"__half2float({x})" if source.name == "f16" else f"__bfloat162float({x})"
    if to.kind == "b":
        return f"({x} != 0)"
    if to.name == "bf16":
        return f"__float2bfloat16((float){x})"
    if to.name == "f16":
        return f"__double2half({x})" if source.name == "f64" else f"__float2half((float){x})"
    if to.kind == "f":
        return x if source.itemsize == 2 and source.kind == "f" and to.name == "f32" else (
            f"({C_TYPES[to.name]}){x}"
        )  # fmt: skip
    if source.kind != "f":
        return f"({C_TYPES[to.name]}){x}"
    wide = "f64" if source.name == "f64" else "f32"
    name = f"{to.name}_of_{wide}"
    info: Any = np.iinfo(to.numpy)
    functions[name] = _TO_INTEGER.format(
        name=name, I=C_TYPES[to.name], T=C_TYPES[wide], high=_float(float(int(info.max) + 1), wide),
        low=_float(float(info.min), wide), most=_integer(int(info.max), to),
        least=_integer(int(info.min), to),
    )  # fmt: skip
    return f"gm_{name}({x})"


def constant(value: Any, dtype: DType) -> str:
    """A number, rounded to its dtype."""
    if dtype.kind == "b":
        return "true" if value else "false"
    if dtype.kind in "iu":
        return _integer(int(value), dtype)
    if dtype.name in ("f16", "bf16"):
        rounded = float(np.asarray(value).astype(dtype.numpy))
        cast = "__float2half" if dtype.name == "f16" else "__float2bfloat16"
        return f"{cast}({_float(rounded, 'f32')})"
    return _float(float(value), dtype.name)


def _float(value: float, name: str) -> str:
    """The shortest decimal that rounds to the value."""
    if math.isnan(value):
        return "NAN" if name == "f32" else "(double)NAN"
    if name == "f32":
        with np.errstate(over="ignore"):
            text = str(np.float32(value))
    else:
        text = repr(value)
    if "inf" in text:
        text = text.replace("inf", "INFINITY")
        return f"({text})" if value < 0 else text
    text += "f" if name == "f32" else ""
    return f"({text})" if text[0] == "-" else text


def _integer(value: int, dtype: DType) -> str:
    value = (value + (1 << dtype.bits - 1)) % (1 << dtype.bits) - (1 << dtype.bits - 1) if (
        dtype.kind == "i"
    ) else value % (1 << dtype.bits)  # fmt: skip
    end = "LL" if dtype.itemsize == 8 else ""
    if value < 0 and dtype.itemsize >= 4 and value == -(1 << dtype.bits - 1):
        return f"({value + 1}{end} - 1)"
    return f"({value}{end})" if value < 0 else f"{value}{end}"
