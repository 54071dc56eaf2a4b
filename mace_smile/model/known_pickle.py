"""A reader of pickles that does what models need, and nothing else.

A pickle is a list of operations on a stack. Those that ``torch.save`` writes for a model are
carried out here one by one: plain values and containers, functions and classes of
:mod:`~mace_smile.model.known_names`, and attributes that
:mod:`~mace_smile.model.module_state` has checked. Containers grow only if they are exactly of
Python's types, and an object gets its attributes once, right after it was made.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from mace_smile.model.graph_code import ForeignContent
from mace_smile.model.known_names import (
    KnownClass,
    KnownFunction,
    KnownTuple,
    known,
    set_array,
)
from mace_smile.model.module_state import checked_state

#: Operations that push one value, and the value; those of ``ARGUMENTS`` carry it with them.
VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
ARGUMENTS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINBYTES"}
    | {"BINBYTES", "LONG4"}
)
#: Operations that push a tuple of the last values, and how many.
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
#: Fields of a type of numpy that tell no more than its name does.
NO_FIELDS = (None, None, None, -1, -1)


class KnownUnpickler:
    """An unpickler as ``torch.load`` wants one.

    :param file: where the pickle begins.
    :param settings: of the encoding of old pickles, which do not matter here.
    """

    #: What gives the storage of a tensor; ``torch.load`` sets it.
    persistent_load: Callable[[Any], Any]

    def __init__(self, file: BinaryIO, **settings: Any) -> None:
        self._file = file
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._unset: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda version: None,
            "MARK": lambda _: self._marks.append(len(self._stack)),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "BINGET": lambda number: self._stack.append(self._memo[number]),
            "LONG_BINGET": lambda number: self._stack.append(self._memo[number]),
            "TUPLE": lambda _: self._stack.append(tuple(self._since_mark())),
            "APPEND": lambda _: self._extend([self._stack.pop()]),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "SETITEM": lambda _: self._set_items(self._last(2)),
            "SETITEMS": lambda _: self._set_items(self._since_mark()),
            "GLOBAL": self._name,
            "BINPERSID": self._load_storage,
            "REDUCE": self._call,
            "NEWOBJ": self._make,
            "BUILD": self._set_state,
        }

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle names; ``torch.load`` puts its types of storages in front."""
        return known(module, name)

    def load(self) -> Any:
        """The content of the pickle.

        :raises ForeignContent: for an operation, a name or an argument that no model has.
        """
        for operation, argument, _ in pickletools.genops(self._file):
            name = operation.name
            if name == "STOP":
                break
            if name in VALUES:
                self._stack.append(VALUES[name]())
            elif name in ARGUMENTS:
                self._stack.append(argument)
            elif name in TUPLES:
                self._stack.append(tuple(self._last(TUPLES[name])))
            elif name in self._steps:
                self._steps[name](argument)
            else:
                raise ForeignContent(f"holds the operation {name}, which torch does not write")
        return self._stack.pop()

    def _remember(self, number: Any) -> None:
        """Keep the last value under a number."""
        self._memo[number] = self._stack[-1]

    def _last(self, count: int) -> list[Any]:
        """Take the last values from the stack."""
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _since_mark(self) -> list[Any]:
        """Take the values since the last mark from the stack."""
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _extend(self, values: list[Any]) -> None:
        """Append to a list."""
        if type(self._stack[-1]) is not list:
            raise ForeignContent("appends to what is no list")
        self._stack[-1].extend(values)

    def _set_items(self, values: list[Any]) -> None:
        """Put pairs into a dictionary."""
        if type(self._stack[-1]) not in (dict, OrderedDict):
            raise ForeignContent("puts items into what is no dictionary")
        self._stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def _name(self, argument: Any) -> None:
        """Push what is known under a name."""
        module, name = str(argument).split(" ", 1)
        self._stack.append(self.find_class(module, name))

    def _load_storage(self, argument: Any) -> None:
        """Push the numbers of a tensor."""
        kind = self._stack.pop()
        is_storage = type(kind) is tuple and len(kind) == 5 and kind[0] == "storage"
        if not is_storage or [type(one) for one in kind[2:]] != [str, str, int]:
            raise ForeignContent("refers to something outside of itself")
        self._stack.append(self.persistent_load(kind))

    def _call(self, argument: Any) -> None:
        """Call a function, or what stands in its place."""
        function, values = self._last(2)
        if type(function) is not KnownFunction or type(values) is not tuple:
            raise ForeignContent(f"calls {_described(function)}, which no model calls")
        try:
            result = function.call(*values)
        except (TypeError, ValueError) as error:
            raise ForeignContent(f"calls {function.name} in a wrong way ({error})") from error
        if isinstance(result, np.ndarray | np.dtype | OrderedDict):
            self._unset[id(result)] = result
        self._stack.append(result)

    def _make(self, argument: Any) -> None:
        """Make an object without attributes, or a tuple."""
        kind, values = self._last(2)
        if type(kind) is KnownTuple and type(values) is tuple and _is_plain(values):
            result = kind.made.__new__(kind.made, *values)
        elif type(kind) is KnownClass and values == ():
            result = kind.made.__new__(kind.made)
            self._unset[id(result)] = result
        else:
            raise ForeignContent(f"makes a {_described(kind)} in a way that no model does")
        self._stack.append(result)

    def _set_state(self, argument: Any) -> None:
        """Give a new object its attributes."""
        state = self._stack.pop()
        made = self._stack[-1]
        if self._unset.pop(id(made), None) is not made:
            raise ForeignContent(f"changes a {type(made).__name__} that is complete")
        if isinstance(made, np.ndarray):
            set_array(made, state)
        elif isinstance(made, np.dtype):
            if type(state) is not tuple or state[1] not in ("<", "|") or state[2:7] != NO_FIELDS:
                raise ForeignContent("holds an array of something else than numbers")
        elif isinstance(made, OrderedDict):
            if type(state) is not dict or list(state) != ["_metadata"]:
                raise ForeignContent("gives a dictionary attributes")
            made.__dict__.update(state)
        else:
            kind = type(made)
            attributes = checked_state(kind, state)
            if hasattr(kind, "__setstate__"):
                kind.__setstate__(made, attributes)
            else:
                made.__dict__.update(attributes)


def _described(value: Any) -> str:
    """Name of something that a pickle calls."""
    if isinstance(value, KnownClass | KnownTuple):
        return value.made.__name__
    return value.name if isinstance(value, KnownFunction) else type(value).__name__


def _is_plain(value: Any) -> bool:
    """Whether a tuple holds numbers, names and such tuples alone."""
    if isinstance(value, tuple):
        return all(_is_plain(one) for one in value)
    return type(value) in (int, float, bool, str, type(None))
