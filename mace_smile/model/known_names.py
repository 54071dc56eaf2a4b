"""What a pickle of a model may name, and what is done in place of a call.

A pickle may call everything it can name, with any arguments. So functions are given out in wrappers
that check the arguments, and classes in wrappers that only make an empty object: neither can be
called in another way, or stored to be called later.
"""

import dataclasses
import importlib
import inspect
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mace_smile.errors import UserError
from mace_smile.model.graph_code import ForeignContent, graph_module

#: Packages whose modules (``torch.nn.Module``) may be named, and whose options (dataclasses).
MODULES = (
    *(f"torch.nn.modules.{name}" for name in ("activation", "container", "dropout", "linear")),
    *("torch.nn.modules.normalization", "torch.nn.modules.sparse"),
    *("e3nn.o3.", "e3nn.nn.", "e3nn.math.", "mace.modules.", "torchpme."),
    *("mace_smile.model.", "mace_smile.physics."),
)
OPTIONS = ("mace.modules.", "mace_smile.model.", "mace_smile.physics.")
#: Tuples of numbers, names and such tuples.
TUPLES = {
    "e3nn.o3._irreps": frozenset({"Irrep", "Irreps", "_MulIr"}),
    "e3nn.o3._linear": frozenset({"Instruction"}),
    "e3nn.o3._tensor_product._instruction": frozenset({"Instruction"}),
}
#: Activation functions, which are values of models.
VALUES = {
    "torch.nn.functional": frozenset({"silu", "tanh", "relu", "gelu", "sigmoid", "softplus"}),
    "torch._C._nn": frozenset({"silu", "gelu", "softplus"}),
}
#: Activation functions of MACE that a pickle names as attributes, and of what.
ACTIVATIONS = frozenset({"abs", "tanh", "sigmoid", "relu"})
ACTIVATIONS_OF = ("torch._C", "_VariableFunctionsClass")
#: Names of modules in pickles of Python 2 style, which torch writes.
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
#: Types of the numbers in arrays of numpy.
NUMBERS = re.compile(r"[?biuf][1248]?")
#: Beginning of the names of packages that a model stored for cuEquivariance needs.
FUSED = "cuequivariance"


@dataclass(frozen=True)
class KnownFunction:
    """A function that a pickle may call."""

    name: str
    call: Callable[..., Any]


@dataclass(frozen=True)
class KnownClass:
    """A class of which a pickle may make objects, whose attributes it sets afterwards."""

    made: Any


@dataclass(frozen=True)
class KnownTuple:
    """A class of which a pickle may make tuples."""

    made: Any


def check_not_fused(module: str) -> None:
    """Refuse models that MACE stored for cuEquivariance (``--only_cueq``).

    :param module: one that a pickle names.
    :raises UserError: with the command of MACE that converts them.
    """
    if module.startswith(FUSED):
        raise UserError(
            "this model was stored for cuEquivariance (--only_cueq) but one for e3nn is wanted; "
            "convert it first with `mace_cueq_to_e3nn MODEL --return_model`, which writes a file "
            "of its name with .e3nn_model.pt"
        )


def known(module: str, name: str) -> Any:
    """What a pickle names.

    :return: a wrapper, or a value that can do no harm.
    :raises ForeignContent: for anything that models of MACE and of this package do not hold.
    :raises UserError: for models stored for cuEquivariance.
    """
    check_not_fused(module)
    module = RENAMED.get(module, module)
    if (module, name) in FUNCTIONS:
        return KnownFunction(f"{module}.{name}", FUNCTIONS[module, name])
    if (module, name) in MARKERS:
        return MARKERS[module, name]
    if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
        return getattr(torch, name)
    if name in VALUES.get(module, ()):
        return getattr(importlib.import_module(module), name)
    if name in TUPLES.get(module, ()):
        return KnownTuple(getattr(importlib.import_module(module), name))
    if module.startswith(MODULES) and name.isidentifier():
        found = getattr(importlib.import_module(module), name, None)
        if inspect.isclass(found) and (
            issubclass(found, torch.nn.Module)
            or (dataclasses.is_dataclass(found) and module.startswith(OPTIONS))
        ):
            return KnownClass(found)
    raise ForeignContent(f"asks for {module}.{name}, which no model of MACE or mace-smile holds")


def _check(is_known: bool, name: str) -> None:
    """Refuse arguments of a function that no model gives it.

    :raises ForeignContent: if they are not known.
    """
    if not is_known:
        raise ForeignContent(f"calls {name} in a way that no model of MACE or mace-smile does")


def _activation(owner: Any, name: Any) -> Any:
    """``getattr``, for activation functions of torch alone."""
    _check(owner is MARKERS[ACTIVATIONS_OF] and name in ACTIVATIONS, "getattr")
    return getattr(torch, name)


def _encoded(text: Any, encoding: Any) -> bytes:
    """Bytes, which pickles for Python 2 hold as text."""
    _check(type(text) is str and encoding == "latin1", "encode")
    return bytes(text, "latin1")


def _tensor(
    storage: Any, offset: int, size: Any, stride: Any, gradient: Any, hooks: Any, extra: Any = None
) -> torch.Tensor:
    """A tensor in a storage of the file."""
    is_plain = isinstance(storage, torch.storage.TypedStorage) and not hooks and not extra
    _check(is_plain and type(hooks) is OrderedDict, "_rebuild_tensor_v2")
    tensor: torch.Tensor = torch._utils._rebuild_tensor_v2(
        storage, offset, size, stride, gradient is True, OrderedDict()
    )
    return tensor


def _parameter(data: Any, gradient: Any, hooks: Any) -> torch.nn.Parameter:
    """A parameter."""
    is_plain = type(data) is torch.Tensor and type(hooks) is OrderedDict and not hooks
    _check(is_plain, "_rebuild_parameter")
    return torch.nn.Parameter(data, requires_grad=gradient is True)


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    """A dictionary that is empty, or made of pairs."""
    _check(type(items) in (list, tuple), "OrderedDict")
    return OrderedDict(items)


def _plain(make: Callable[..., Any], *kinds: type) -> Callable[..., Any]:
    """A function that is given values of these types alone."""

    def call(*values: Any) -> Any:
        _check(all(type(value) in kinds for value in values), getattr(make, "__name__", "it"))
        return make(*values)

    return call


def _number_type(name: Any, *flags: Any) -> np.dtype[Any]:
    """A type of numbers, for arrays of numpy."""
    _check(type(name) is str and NUMBERS.fullmatch(name) is not None, "numpy.dtype")
    return np.dtype(name)


def _number(kind: Any, content: Any) -> Any:
    """A number of numpy."""
    _check(isinstance(kind, np.dtype) and type(content) is bytes, "numpy scalar")
    return np.frombuffer(content, kind, count=1)[0]


def _array(kind: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """An empty array of numpy, whose content follows."""
    is_plain = kind is MARKERS["numpy", "ndarray"] and shape == (0,) and order == b"b"
    _check(is_plain, "_reconstruct")
    return np.empty(0)


def set_array(array: np.ndarray[Any, Any], state: Any) -> None:
    """Give an array its content.

    :param state: version, shape, type, order and bytes.
    :raises ForeignContent: for arrays of anything but numbers.
    """
    _check(type(state) is tuple and len(state) == 5, "numpy.ndarray")
    _, shape, kind, _, content = state
    _check(isinstance(kind, np.dtype) and type(content) is bytes, "numpy.ndarray")
    _check(type(shape) is tuple and all(type(size) is int for size in shape), "numpy.ndarray")
    array.__setstate__(state)


#: Functions and types that a pickle may call, with what is called in their place.
FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "getattr"): _activation,
    ("builtins", "set"): _plain(set, list),
    ("builtins", "frozenset"): _plain(frozenset, list),
    ("builtins", "slice"): _plain(slice, int, type(None)),
    ("builtins", "range"): _plain(range, int),
    ("builtins", "complex"): _plain(complex, float),
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _encoded,
    ("torch", "Size"): _plain(torch.Size, tuple),
    ("torch", "device"): _plain(torch.device, str, int),
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.fx.graph_module", "reduce_graph_module"): graph_module,
    ("numpy", "dtype"): _number_type,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
}
#: Classes that a pickle names without making objects of them, and what it gets.
MARKERS: dict[tuple[str, str], str] = {
    one: ".".join(one)
    for one in (ACTIVATIONS_OF, ("numpy", "ndarray"), ("torch.fx._symbolic_trace", "Tracer"))
}
