"""Attributes of an object in a stored model: which of them a stranger may set.

A pickle sets the attributes of an object without asking its class. One that has the name of a
method would be called in place of it, and hooks are called whenever the module is.
"""

from collections import OrderedDict
from typing import Any

import torch
from e3nn.util.codegen import CodeGenMixin

from mace_smile.model.graph_code import ForeignContent
from mace_smile.model.script_archive import check_script

#: Attribute of modules of e3nn with their generated code, which becomes modules on loading.
GENERATED = "__codegen__"
#: What the dictionaries of a module hold.
HELD: dict[str, type] = {
    "_parameters": torch.nn.Parameter,
    "_buffers": torch.Tensor,
    "_modules": torch.nn.Module,
}


def checked_state(kind: type, state: Any) -> dict[str, Any]:
    """Attributes that an object may have, in dictionaries to which the file has no way any more.

    :param kind: class of the object.
    :param state: the attributes that the file gives it.
    :raises ForeignContent: for attributes that would run, or hide a method.
    """
    attributes = _plain_dict(state)
    for name, value in attributes.items():
        if name == GENERATED and issubclass(kind, CodeGenMixin):
            attributes[name] = _checked_code(value)
        elif name in HELD:
            attributes[name] = _checked_members(value, HELD[name])
        elif name.endswith("_hooks") or "_hooks_" in name:
            attributes[name] = _no_hooks(name, value)
        elif name == "_non_persistent_buffers_set":
            attributes[name] = set(value) if type(value) is set else set()
        elif name.startswith("__") or callable(getattr(kind, name, None)):
            raise ForeignContent(f"puts something in place of {kind.__name__}.{name}")
    return attributes


def _plain_dict(value: Any) -> dict[str, Any]:
    """A copy of a dictionary with strings for keys.

    :raises ForeignContent: for anything else, which might look like one.
    """
    if type(value) not in (dict, OrderedDict) or any(type(name) is not str for name in value):
        raise ForeignContent(f"holds a {type(value).__name__} where attributes are wanted")
    return dict(value)


def _checked_code(value: Any) -> dict[str, bytes]:
    """Generated code of e3nn, whose archives have been checked.

    :raises ForeignContent: for other code.
    """
    archives = _plain_dict(value)
    for archive in archives.values():
        if type(archive) is not bytes:
            raise ForeignContent("holds generated code in a form that e3nn does not write")
        check_script(archive)
    return archives


def _checked_members(value: Any, kind: type) -> dict[str, Any]:
    """Parameters, buffers or modules of a module, by name.

    :raises ForeignContent: for something else among them.
    """
    members = _plain_dict(value)
    for name, member in members.items():
        if member is not None and not isinstance(member, kind):
            raise ForeignContent(f"holds '{name}', which is no {kind.__name__}")
    return members


def _no_hooks(name: str, value: Any) -> OrderedDict[int, Any]:
    """The hooks of a module that has none.

    :raises ForeignContent: for one that has.
    """
    if type(value) not in (dict, OrderedDict) or value:
        raise ForeignContent(f"holds functions that run by themselves ({name})")
    return OrderedDict()
