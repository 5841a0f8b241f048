"""Modules that hold modules: in a row, in a list, by name."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module
from .parameter import Parameter


class _Listed(Module):
    """Children under the names 0, 1, 2 ..."""

    def _name(self, index: Any) -> str:
        n = len(self._modules)
        index = operator.index(index)
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of range for {n} modules")
        return list(self._modules)[index % n]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return (m for _, m in self._entries("_modules"))

    def __contains__(self, module: Any) -> bool:
        return any(m is module for m in self._modules.values())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._make(list(self._modules.items())[index])
        return getattr(self, self._name(index))

    def __setitem__(self, index: Any, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: Any) -> None:
        names = list(self._modules)[index] if isinstance(index, slice) else [self._name(index)]
        kept = [m for name, m in self._modules.items() if name not in names]
        self._refill(kept)

    def _refill(self, modules: Iterable[Any]) -> None:
        modules = list(modules)
        for name in list(self._modules):
            delattr(self, name)
        for i, m in enumerate(modules):
            setattr(self, str(i), m)

    def _make(self, items: list[tuple[str, Any]]) -> Any:
        return type(self)(*[m for _, m in items])

    def append(self, module: Module) -> Any:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def __iadd__(self, modules: Iterable[Module]) -> Any:
        return self.extend(modules)

    def __add__(self, modules: Iterable[Module]) -> Any:
        return self._make([(str(i), m) for i, m in enumerate([*self, *modules])])

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before the one at ``index``."""
        if not isinstance(module, Module):
            raise TypeError(f"insert: expected a Module, not {type(module).__name__}")
        modules = list(self._modules.values())
        modules.insert(index, module)
        self._refill(modules)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end."""
        for m in modules:
            self.append(m)
        return self

    def pop(self, index: int = -1) -> Any:
        """Take a module out."""
        module = self[index]
        del self[index]
        return module


class Sequential(_Listed):
    """Modules called one after the other: ``Sequential(a, b)``, or by name from an OrderedDict.

    >>> import gristmill as gm
    >>> from gristmill import nn
    >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU())(gm.ones(4, 2)).shape
    gristmill.Size([4, 3])
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def _make(self, items: list[tuple[str, Any]]) -> Any:
        return type(self)(OrderedDict(items))

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before the one at ``index``, which is in range (or the end)."""
        if not -len(self) <= index <= len(self):
            raise IndexError(f"insert: index {index} is out of range for {len(self)} modules")
        return super().insert(index, module)

    def forward(self, input: Any) -> Any:
        """Each module on the result of the one before."""
        for module in self:
            input = module(input)
        return input


class ModuleList(_Listed):
    """A list of modules that are all registered."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def _make(self, items: list[tuple[str, Any]]) -> Any:
        return type(self)([m for _, m in items])

    def __repr__(self) -> str:
        runs: list[tuple[int, int, str]] = []
        for i, module in enumerate(self._modules.values()):
            text = repr(module).replace("\n", "\n  ")
            if runs and runs[-1][2] == text:
                runs[-1] = runs[-1][0], i, text
            else:
                runs.append((i, i, text))
        lines = [
            f"({a}): {text}" if a == b else f"({a}-{b}): {b - a + 1} x {text}"
            for a, b, text in runs
        ]
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)" if lines else "ModuleList()"


class ModuleDict(Module):
    """Modules by name, all registered."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key) if key in self._modules else self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take all modules out."""
        for key in list(self._modules):
            del self[key]

    def pop(self, key: str) -> Any:
        """Take a module out."""
        module = self[key]
        del self[key]
        return module

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def values(self) -> list[Any]:
        """The modules."""
        return [m for _, m in self._entries("_modules")]

    def items(self) -> list[tuple[str, Any]]:
        """Names and modules."""
        return self._entries("_modules")

    def update(self, modules: Any) -> None:
        """Add modules from a mapping or pairs."""
        for key, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[key] = module


class ParameterList(Module):
    """A list of parameters that are all registered."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        for value in values or ():
            self.append(value)

    def append(self, value: Any) -> ParameterList:
        """Add a parameter (a tensor becomes one)."""
        self.register_parameter(str(len(self._parameters)), _parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add parameters."""
        for value in values:
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, list(self._parameters)[index], _parameter(value))

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return (p for _, p in self._entries("_parameters"))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, list(self._parameters)[index])


def _parameter(value: Any) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value)
