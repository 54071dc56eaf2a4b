"""Reading pickles of models, without running what a stranger has put into one.

A ``.model`` is a pickle, and a pickle names functions and classes that are called when it is
loaded. Here it may name those that models of MACE and of this package hold: tensors, modules of
torch, e3nn, MACE, torch-pme and ours, their options, and graphs of ``torch.fx`` whose source
:mod:`~mace_smile.model.graph_code` has checked. Anything else is refused before it is imported,
unless the user trusts the file. It is no sandbox: it keeps out code, not wrong numbers.
"""

import dataclasses
import importlib
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.fx.graph_module import reduce_graph_module

from mace_smile.errors import UserError
from mace_smile.model.graph_code import ForeignContent, check_graph_code

#: Functions, types and values that may be named, by module.
NAMES: dict[str, frozenset[str]] = {
    "builtins": frozenset({"set", "frozenset", "slice", "range", "complex", "bytearray"}),
    "collections": frozenset({"OrderedDict", "defaultdict"}),
    "_codecs": frozenset({"encode"}),
    "torch": frozenset({"Size", "device", "dtype"}),
    "torch._utils": frozenset({"_rebuild_parameter", "_rebuild_tensor_v2", "_rebuild_tensor"}),
    "torch.nn.parameter": frozenset({"Parameter"}),
    "torch.nn.functional": frozenset({"silu", "tanh", "relu", "gelu", "sigmoid", "softplus"}),
    "torch._C._nn": frozenset({"silu", "gelu", "softplus"}),
    "torch._C": frozenset({"_VariableFunctionsClass"}),
    "torch.fx._symbolic_trace": frozenset({"Tracer"}),
    "numpy": frozenset({"dtype", "ndarray"}),
    "numpy.core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy._core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "e3nn.o3._irreps": frozenset({"Irrep", "Irreps", "_MulIr"}),
    "e3nn.o3._linear": frozenset({"Instruction"}),
    "e3nn.o3._tensor_product._instruction": frozenset({"Instruction"}),
}
#: Packages whose modules (``torch.nn.Module``) may be named, and whose options (dataclasses).
MODULES = ("torch.nn.modules.", "e3nn.", "mace.", "mace_smile.", "torchpme.")
OPTIONS = ("mace.modules.", "mace_smile.")
#: Activation functions of MACE that a pickle names as attributes.
ACTIVATIONS = frozenset({"abs", "tanh", "sigmoid", "relu"})
#: Names of modules in pickles of Python 2 style, which torch writes.
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def _activation(owner: Any, name: str) -> Any:
    """``getattr``, for activation functions of torch alone.

    :raises ForeignContent: for anything else.
    """
    functions = torch._C._VariableFunctionsClass  # type: ignore[attr-defined]
    if owner is not functions or name not in ACTIVATIONS:
        raise ForeignContent(f"asks for the attribute '{name}' of {owner!r}")
    return getattr(owner, name)


def _graph_module(body: dict[str, Any], import_block: str) -> torch.nn.Module:
    """A graph of ``torch.fx``, whose code has been checked.

    :raises ForeignContent: for code that no MACE has.
    """
    check_graph_code(import_block + (body.get("_code") or body["code"]))
    return reduce_graph_module(dict(body), import_block)


#: What stands in place of functions that would run anything they are given.
CHECKED: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "getattr"): _activation,
    ("torch.fx.graph_module", "reduce_graph_module"): _graph_module,
}


class KnownNames(pickle.Unpickler):
    """An unpickler that knows what models hold, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names.

        :raises ForeignContent: for anything that models of MACE and of this package do not hold.
        """
        module = RENAMED.get(module, module)
        if (module, name) in CHECKED:
            return CHECKED[module, name]
        if name in NAMES.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module.startswith(MODULES) and name.isidentifier():
            found = getattr(importlib.import_module(module), name)
            if inspect.isclass(found) and (
                issubclass(found, torch.nn.Module)
                or (dataclasses.is_dataclass(found) and module.startswith(OPTIONS))
            ):
                return found
        raise ForeignContent(
            f"asks for {module}.{name}, which no model of MACE or mace-smile holds"
        )


class KnownPickle:
    """What ``torch.load`` takes as a ``pickle_module``."""

    Unpickler = KnownNames

    @staticmethod
    def load(file: Any, **settings: Any) -> Any:
        """Content of one pickle, of old files of torch."""
        return KnownNames(file, **settings).load()


def read_pickle(path: str | Path, device: str | torch.device = "cpu", trust: bool = False) -> Any:
    """Content of a file that ``torch.save`` has written.

    :param path: the file.
    :param device: where its tensors go.
    :param trust: run whatever the file asks for.
    :raises UserError: for a file that holds more than models do, or cannot be read.
    """
    module: Any = pickle if trust else KnownPickle
    try:
        return torch.load(path, map_location=device, weights_only=False, pickle_module=module)
    except ForeignContent as error:
        raise UserError(
            f"'{path}' {error}: loading it may run the code of whoever made it. If you trust "
            "them, add --trust (in Python trust=True); the .pt files of mace_smile_export can be "
            "shared without"
        ) from error
    except UserError as error:
        raise UserError(f"'{path}': {error}") from error
    except Exception as error:  # a broken pickle may raise anything
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = " ".join(str(error).split()).split(". ")[0]  # torch adds paragraphs
        raise UserError(
            f"'{path}' cannot be read as a model ({type(error).__name__}: {reason}); give the "
            ".model file that mace_smile_run_train or MACE wrote"
        ) from error
