"""TorchScript in a model may compute with tensors; anything else is refused before it is loaded."""

import io
import zipfile

import pytest
import torch
from e3nn import o3

from helpers import make_backbone
from mace_smile.model.graph_code import ForeignContent
from mace_smile.model.script_archive import check_script
from mace_smile.model.script_code import check_script_code

METHOD = """class GraphModule(Module):
  __parameters__ = []
  __buffers__ = ["w", ]
  training : bool
  w : Tensor
  def forward(self: __torch__.torch.fx.graph_module.GraphModule,
    x: Tensor) -> Tensor:
    {}
"""
#: Lines of the method.
LINES = [
    "torch.save(x, 'a')",
    "_0 = torch.save",
    "_0 = torch",
    "_0 = ops.aten.save",
    "return torch.from_file('a', True, 1)",
    "return ops.aten.from_file('a', True, 1)",
    "return ops.mkldnn.anything(x)",
    "return torch.classes.a.b()",
    "return __torch__.torch.classes.a.b(x)",
    "_0 = __torch__.torch.classes.a.b",
    "_0 = annotate(__torch__.torch.classes.a.b, x)",
    "x.save('a')",
    "_0 = x.save",
    "(self.w).save('a')",
    "_0 = (self.w).save",
    "open('a')",
    "self = x",
    "torch = x",
    "__torch__ = x",
    "annotate = x",
    "self.w = x",
    "x[0] = x",
    "return torch.add(x, torch.save(x, 'a'))",
    "return [torch.save(x, 'a')]",
    "return torch.add(*x)",
    "return torch.add(x, **x)",
    "return -torch.save(x, 'a')",
    "return x[torch.save(x, 'a')]",
    "return lambda: 1",
    "return [y for y in x]",
    "return f'{x}'",
    "return b'a'",
    "import os",
    "for y in x: pass",
    "while True: pass",
    "with x: pass",
    "if torch.save(x, 'a'): pass",
    "pass  # torch.save",
    "return 'a\\'",
    "return 'ä'",
    'return """a"""',
    "\treturn x",
    "this is no code",
]
SOURCES = [
    "import os\n",
    "x = 1\n",
    "def __setstate__(x: int) -> int:\n  return x\n",
    "def torch(x: int) -> int:\n  return x\n",
    "def f(self: Tensor) -> Tensor:\n  return self.save\n",
    "def f(x: __torch__.torch.classes.a.b) -> int:\n  return 1\n",
    "def f(x: torch.save('a')) -> int:\n  return 1\n",
    "def f(x: int=torch.save('a')) -> int:\n  return 1\n",
    "def f(*x) -> int:\n  return 1\n",
    "@f\ndef f(x: int) -> int:\n  return 1\n",
    "class A(NamedTuple):\n  x : int\n",
    "class A(Module):\n  x : __torch__.torch.classes.a.b\n",
    "class A(Module):\n  x = torch.save('a')\n",
    "class A(Module):\n  __parameters__ = torch.save('a')\n",
    "class A(Module):\n  def __setstate__(self: __torch__.A, x: int) -> None:\n    pass\n",
    "class A(Module):\n  def forward(x: Tensor) -> None:\n    pass\n",
    "class A(Module):\n  def forward(self: Tensor) -> None:\n    pass\n",
]


@pytest.mark.parametrize("source", [*(METHOD.format(line) for line in LINES), *SOURCES])
def test_code_that_does_more_than_compute_is_refused(source):
    with pytest.raises(ForeignContent, match="TorchScript"):
        check_script_code(source.encode())


def test_code_that_e3nn_generates_is_allowed():
    line = "return torch.add(torch.einsum('a,b->ab', [x, self.w]), -1, alpha=1)"
    assert check_script_code(METHOD.format(line).encode()) == ["GraphModule"]
    function = "def f(x: Optional[Tensor]=None) -> int:\n  _0 = g(x)\n  return 1\n"
    check_script_code(function.replace("g(", "unchecked_cast(Tensor, ").encode())


def generated_code():
    """An archive of e3nn, with tensors and constants."""
    module = o3.TensorProduct(
        *("1x1o", "1x1o", "1x1e"), [(0, 0, 0, "uuu", True)], shared_weights=True
    )
    return next(iter(module.__getstate__()["__codegen__"].values()))


def changed(archive, change):
    """An archive with other records.

    :param change: gets names and contents of all records.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        records = {name: source.read(name) for name in source.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in change(records).items():
            target.writestr(name, data)
    return buffer.getvalue()


def with_record(suffix, content):
    """A change that puts a record in place of the one whose name ends so, or beside all others."""

    def change(records):
        folder = next(iter(records)).split("/")[0]
        known = [name for name in records if name.endswith(suffix)]
        return {**records, (known or [f"{folder}/{suffix}"])[0]: content}

    return change


CHANGES = {
    "other_record": (with_record("bytecode.pkl", b"\x80\x02N."), "the record 'bytecode.pkl'"),
    "case": (with_record("Version", b"1"), "the record 'Version'|two records"),
    "class_of_cpp": (
        with_record("data.pkl", b"\x80\x02c__torch__.torch.classes.a\nb\n."),
        "asks for '__torch__.torch.classes.a b'",
    ),
    "class_without_code": (with_record("data.pkl", b"\x80\x02c__torch__.a\nB\n."), "asks for"),
    "other_function": (with_record("constants.pkl", b"\x80\x02cposix\nsystem\n."), "asks for"),
    "type": (
        with_record("data.pkl", b"\x80\x02X\x0a\x00\x00\x00__torch__a."),
        "of the type '__torch__a'",
    ),
    "operation": (with_record("data.pkl", b"\x80\x02(iposix\nsystem\n."), "operation INST"),
    "broken_data": (with_record("data.pkl", b"\x80\x02"), "cannot be read"),
    "code": (with_record(".py", b"import os\n"), "TorchScript code that no MACE has"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_archives_that_hold_more_are_refused(name):
    change, reason = CHANGES[name]
    archive = generated_code()
    check_script(changed(archive, dict))
    with pytest.raises(ForeignContent, match=reason):
        check_script(changed(archive, change))


@pytest.mark.parametrize("archive", [b"", b"nothing", b"PK\x03\x04"])
def test_what_is_no_archive_is_refused(archive):
    with pytest.raises(ForeignContent, match="TorchScript archive"):
        check_script(archive)
    with pytest.raises(ForeignContent, match="no TorchScript archive"):
        check_script(b"    PTMF" + generated_code())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_archives_of_mace_are_allowed(dtype):
    model = make_backbone("4x0e+4x1o+4x2e").to(dtype)
    codes = [
        archive
        for module in model.modules()
        if hasattr(module, "__codegen__")
        for archive in module.__getstate__()["__codegen__"].values()
    ]
    assert codes
    for archive in codes:
        check_script(archive)
