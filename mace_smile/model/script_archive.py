"""TorchScript archives inside a stored model: what of them may be loaded.

Modules of e3nn keep their generated code as the bytes of TorchScript archives, which they give to
``torch.jit.load``. That runs the method ``__setstate__`` of any class that has one, and TorchScript
has functions that write files. So an archive is read here first, with the reader that torch itself
uses: its code is checked by :mod:`~mace_smile.model.script_code`, and its data may hold tensors,
plain values and objects of the classes of that code.
"""

import io
import pickletools
import re

import torch

from mace_smile.model.graph_code import ForeignContent
from mace_smile.model.script_code import check_script_code

#: Records of an archive; any other is refused.
RECORDS = re.compile(
    r"(code/[\w/]+\.py(\.debug_pkl)?|(data|constants)(\.pkl|/\d+)|version|byteorder"
    r"|\.data/serialization_id|\.format_version|\.storage_alignment)"
)
#: What the pickles of an archive may name beside the classes of the archive.
NAMES = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch.jit._pickle restore_type_tag",
        "torch.jit._pickle build_intlist",
        "torch.jit._pickle build_doublelist",
        "torch.jit._pickle build_boollist",
        "torch.jit._pickle build_tensorlist",
        *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16")),
        *(f"torch {kind}Storage" for kind in ("Int", "Long", "Short", "Char", "Byte", "Bool")),
    }
)
#: Operations of those pickles.
_OPERATIONS = """
PROTO STOP MARK GLOBAL REDUCE NEWOBJ BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET
NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE EMPTY_TUPLE TUPLE TUPLE1
TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
"""
OPERATIONS = frozenset(_OPERATIONS.split())


def check_script(archive: bytes) -> None:
    """Refuse a TorchScript archive that does more than compute with tensors.

    :param archive: what ``torch.jit.load`` is going to be given.
    :raises ForeignContent: naming what no generated code of e3nn holds.
    """
    if not archive.startswith(b"PK\x03\x04"):
        raise ForeignContent("holds code that is no TorchScript archive")
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(archive))
        records = {name: bytes(reader.get_record(name)) for name in reader.get_all_records()}
    except RuntimeError as error:
        raise ForeignContent("holds a TorchScript archive that cannot be read") from error
    if len({name.lower() for name in records}) != len(reader.get_all_records()):
        raise ForeignContent("holds a TorchScript archive with two records of one name")
    classes = set(NAMES)
    for name, content in records.items():
        if RECORDS.fullmatch(name) is None:
            raise ForeignContent(f"holds a TorchScript archive with the record '{name}'")
        if name.endswith(".py"):
            module = name.removeprefix("code/").removesuffix(".py").replace("/", ".")
            classes.update(f"{module} {one}" for one in check_script_code(content))
    for name, content in records.items():
        if name.endswith("pkl"):
            _check_data(content, classes)


def _check_data(content: bytes, names: set[str]) -> None:
    """Check a pickle of an archive, which TorchScript reads by itself.

    :param names: what it may name.
    :raises ForeignContent: for other names and operations.
    """
    try:
        operations = list(pickletools.genops(content))
    except ValueError as error:
        raise ForeignContent("holds TorchScript data that cannot be read") from error
    for operation, value, _ in operations:
        if operation.name not in OPERATIONS:
            raise ForeignContent(f"holds TorchScript data with the operation {operation.name}")
        if operation.name == "GLOBAL" and value not in names:
            raise ForeignContent(f"holds TorchScript data that asks for '{value}'")
        if operation.name == "BINUNICODE" and "__torch__" in str(value):
            raise ForeignContent(f"holds TorchScript data of the type '{value}'")
