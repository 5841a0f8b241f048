"""Names in CUDA C: those of the nest, except where C has another meaning for them."""

from __future__ import annotations

from ...ir.loops import Kernel

_WORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    constexpr const_cast continue decltype default delete do double dynamic_cast else enum explicit
    export extern false float for friend goto if inline int long mutable namespace new noexcept not
    not_eq nullptr operator or or_eq private protected public register reinterpret_cast return short
    signed sizeof static static_assert static_cast struct switch template this thread_local throw
    true try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor
    xor_eq threadIdx blockIdx blockDim gridDim warpSize main memcpy
    abs fabs fabsf floor floorf ceil ceilf trunc truncf rint rintf fmin fminf fmax fmaxf fma fmaf
    exp expf log logf log1p log1pf expm1 expm1f sqrt sqrtf sin sinf cos cosf tanh tanhf erf erff
    pow powf isnan fmod fmodf copysign copysignf NAN INFINITY half nv_bfloat16
"""
_RESERVED = frozenset(_WORDS.split())


def legal(name: str) -> str:
    """A name that means nothing else in CUDA C."""
    return f"{name}_" if name in _RESERVED or name.startswith(("gm_", "__")) else name


class Names:
    """Indices keep their names; a buffer called like an index, or declared again, is numbered."""

    def __init__(self, kernel: Kernel) -> None:
        self.indices: dict[str, str] = {}
        self.buffers: dict[str, str] = {}
        self.taken = {legal(kernel.name)}
        for s in kernel.sizes:
            self.index(s.name)
        for b in kernel.params:
            self.declare(b.name)

    def index(self, name: str) -> str:
        """The name of an axis or a size."""
        if name not in self.indices:
            self.indices[name] = self._free(name)
        return self.indices[name]

    def buffer(self, name: str) -> str:
        """The name of a buffer that was declared."""
        return self.buffers[name] if name in self.buffers else self.declare(name)

    def declare(self, name: str) -> str:
        """A name for a buffer; another one if it was declared before."""
        self.buffers[name] = self._free(name)
        return self.buffers[name]

    def _free(self, name: str) -> str:
        new, k = legal(name), 1
        while new in self.taken:
            k += 1
            new = f"{name}_{k}"
        self.taken.add(new)
        return new
