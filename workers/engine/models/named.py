"""Modules by the names of outputs."""

from collections.abc import Mapping
from typing import Any

from torch import nn


class NamedModules(nn.Module):
    """Modules by output name. Unlike nn.ModuleDict it takes every name, also `size.cm` and `values`."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._keys = {name: name for name in modules}
        for name, module in modules.items():
            self._modules[name] = module

    def make_plain(self) -> None:
        """Rename modules that are no plain attributes (`size.cm`, `type`), for tracers, which look modules up as
        attributes. In place, for a copy that is exported and then dropped: the weights have other names after.
        """
        for i, name in enumerate(self._keys):
            if "." in name or name in self.__dict__ or hasattr(type(self), name):
                self._keys[name] = f"_{i}"
                self._modules[f"_{i}"] = self._modules.pop(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training":  # the mode, also where an output has that name
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def get(self, output: str) -> nn.Module:
        """The module of one output; raises KeyError."""
        module = self._modules[self._keys[output]]
        assert module is not None
        return module
