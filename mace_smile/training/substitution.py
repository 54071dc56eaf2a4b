"""Replacing a name that MACE looks up, for a while."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mace_smile.training.plan import TrainingPlan


@dataclass(frozen=True)
class Seam:
    """One name that MACE looks up, and what it finds there while we train."""

    namespace: str
    """Module, or module and class, that holds the name."""
    name: str
    """The name."""
    wrap: Callable[[Any, TrainingPlan], Any]
    """From the original and the plan of the run to what replaces it."""

    def owner(self) -> Any:
        """The module or class that holds the name.

        :raises RuntimeError: when it is not there.
        """
        module, _, last = self.namespace.rpartition(".")
        # `mace.tools.train` is a module, but as an attribute the function of that name.
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(self.namespace)
        return getattr(importlib.import_module(module), last)


@contextlib.contextmanager
def substituted(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute for a while.

    :raises RuntimeError: when there is no such attribute.
    """
    if name not in vars(owner):
        raise RuntimeError(
            f"{owner.__name__} has no '{name}', which this mace-smile replaces while it trains; "
            "it works with mace-torch 0.3.16"
        )
    original = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
