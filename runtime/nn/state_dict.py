"""The state of a module by name, and loading it: all or nothing, with one message that lists what does not fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...frontend.tensor import Tensor, grad_mode


class IncompatibleKeys(NamedTuple):
    """Names that were missing in a state dict, and names that the module does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class LoadsState:
    """The part of Module that gives and takes its state."""

    def state_dict(
        self: Any, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by dotted name, detached unless ``keep_vars``; they share memory."""
        out = OrderedDict() if destination is None else destination
        for name, p in self._parameters.items():
            if p is not None:
                out[prefix + name] = p if keep_vars else p.detach()
        for name, b in self._buffers.items():
            if b is not None and name not in self._transient:
                out[prefix + name] = b if keep_vars else b.detach()
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=out, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return out

    def load_state_dict(
        self: Any, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy a state dict into the module (``assign``: take its tensors themselves).

        RuntimeError lists all that is missing, unexpected or of another shape; nothing is loaded then. Without
        ``strict`` missing and unexpected names are only returned.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"expected a state dict, not {type(state_dict).__name__}: give what state_dict() or load returned"
            )
        own = self.state_dict(keep_vars=True)
        missing = [k for k in own if k not in state_dict]
        unexpected = [k for k in state_dict if k not in own]
        wrong = [_mismatch(k, own[k], v) for k, v in state_dict.items() if k in own]
        faults = [w for w in wrong if w]
        if strict:
            faults = [*_listed("missing", missing), *_listed("unexpected", unexpected), *faults]
        if faults:
            raise RuntimeError(
                f"loading a state dict into {type(self).__name__}:\n  " + "\n  ".join(faults)
            )
        with grad_mode(False):
            for key, value in state_dict.items():
                if key in own:
                    _take(own[key], value, assign)
        return IncompatibleKeys(missing, unexpected)


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what}: {', '.join(names)}"] if names else []


def _mismatch(name: str, own: Tensor, value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"{name}: is a {type(value).__name__}, not a Tensor"
    if value._type.shape != own._type.shape:
        return f"{name}: has shape {tuple(value._type.shape)}, expected {tuple(own._type.shape)}"
    return ""


def _take(own: Tensor, value: Tensor, assign: bool) -> None:
    if assign:
        own.data = value.detach()
    else:
        own.detach().copy_(value.detach())
