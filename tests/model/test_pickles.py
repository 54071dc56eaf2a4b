"""A model file may hold code; what a stranger has put into one must not run."""

import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch.fx import symbolic_trace

from helpers import make_backbone, make_model
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.model.graph_code import ForeignContent, check_graph_code
from mace_smile.model.pickles import read_pickle

ASKS = "--trust"


class Runs:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def store(tmp_path: Path, content) -> Path:
    path = tmp_path / "foreign.model"
    torch.save(content, path)
    return path


def test_a_command_in_a_model_does_not_run(tmp_path):
    sign = tmp_path / "it_ran"
    model = make_model()
    model.extra = Runs(os.mkdir, str(sign))
    path = store(tmp_path, model)
    with pytest.raises(UserError, match=r"asks for posix.mkdir.*--trust") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert not sign.exists()
    load_model(path, trust=True)
    assert sign.exists()


@pytest.mark.parametrize(
    "content",
    [
        Runs(eval, "1 + 1"),
        Runs(getattr, torch.nn.Linear, "forward"),
        Runs(torch.load, "other.model"),
        Runs(torch.storage._load_from_bytes, b""),
        Runs(pickle.loads, b""),
        Runs(torch.hub.load, "a", "b"),
        Runs(Path, "x"),
    ],
    ids=lambda content: content.call[0].__name__,
)
def test_functions_that_no_model_holds_are_refused(tmp_path, content):
    with pytest.raises(UserError, match=ASKS):
        read_pickle(store(tmp_path, [content]))


@pytest.mark.parametrize(
    "name",
    [
        "mace.cli.run_train\nrun",
        "mace_smile.model.pickles\nread_pickle",
        "torch.nn.modules.module\ntorch",
        "torch.nn.modules.linear\nLinear.__init__",
        "collections\nOrderedDict.__init__",
    ],
)
def test_names_that_are_no_modules_are_refused(tmp_path, name):
    path = store(tmp_path, {"a": torch.zeros(1)})
    with zipfile.ZipFile(path) as archive:
        content = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for one, data in content.items():
            pickled = f"\x80\x02c{name}\n.".encode("latin1")
            archive.writestr(one, pickled if one.endswith("data.pkl") else data)
    with pytest.raises(UserError, match=ASKS):
        read_pickle(path)


def test_code_in_a_graph_does_not_run(tmp_path):
    graph = symbolic_trace(torch.nn.Identity())
    function, (body, imports) = graph.__reduce__()
    body["_code"] = "\n\ndef forward(self, x):\n    return __import__('os').getcwd()\n"
    with pytest.raises(UserError, match=r"source code that no MACE has.*--trust"):
        read_pickle(store(tmp_path, [Runs(function, body, imports)]))


#: Bodies of functions of x and y, and whole sources.
SOURCES = [
    "import os",
    "torch.load('a')",
    "return torch.load",
    "return torch.load('a')",
    "return torch.functional.einsum.__globals__",
    "return x.__class__",
    "return x.save('a')",
    "return self.x",
    "return self.reshape(x)",
    "return self",
    "return eval('1')",
    "return z",
    "torch = x",
    "self = x",
    "__name = x",
    "torch.einsum = x",
    "x[0] = y",
    "x, y = y",
    "x += y",
    "x: int = y",
    "del x",
    "global x",
    "return",
    "pass",
    "return x + y",
    "return 9 ** 9 ** 9",
    "return x if x else y",
    "return [a for a in x]",
    "return (lambda: 1)()",
    "return f'{x}'",
    "return b'a'",
    "return 1j",
    "return -x",
    "return x[0]",
    "return torch.einsum(*x)",
    "return torch.einsum('a', **x)",
    "return torch.einsum(torch)",
    "return (x := y)",
    "return x.reshape.__func__(y)",
    "return x.reshape(torch.load('a'))",
    "return torch.einsum('a', x, out=torch.load)",
    "if x: return y",
    "for x in y: return y",
    "with x: return y",
    "def forward(self): return eval",
    "yield x",
    "await x",
]
WHOLE_SOURCES = [
    "",
    "this is no code",
    "import os",
    "x = 1",
    "def forward(x): return x",
    "def forward(self, torch): return torch",
    "def forward(self, *x): return x",
    "def forward(self, **x): return x",
    "def forward(self, *, x): return x",
    "def forward(self, x, /): return x",
    "def forward(self, x=eval('1')): return x",
    "def forward(self, x: eval('1')): return x",
    "def forward(self) -> eval('1'): return 1",
    "def other(self): return 1",
    "async def forward(self): return 1",
    "@eval\ndef forward(self): return 1",
    "def forward(self): return 1\nimport os",
    "def forward(self): return 1\ndef forward(self): return 2",
    "class forward: pass",
]


@pytest.mark.parametrize(
    "source", [*(f"def forward(self, x, y):\n    {line}\n" for line in SOURCES), *WHOLE_SOURCES]
)
def test_source_code_that_does_more_than_multiply_is_refused(source):
    with pytest.raises(ForeignContent, match="source code"):
        check_graph_code(source)


def test_source_code_of_a_contraction_is_allowed():
    check_graph_code(
        "\n\n\ndef forward(self, x, y):\n"
        "    einsum = torch.functional.einsum('ab,bc->ac', x, y);  x = y = None\n"
        "    dot = torch.functional.tensordot(einsum, einsum, dims = ((1,), (0,)), out = None)\n"
        "    permute = dot.permute(1, -1);  dot = None\n"
        "    return permute\n    "
    )


@pytest.mark.parametrize("make", [make_backbone, make_model, lambda: make_model("4x0e", 1)])
def test_models_of_mace_and_ours_load(tmp_path, make):
    model = make()
    loaded = read_pickle(store(tmp_path, model))
    assert loaded.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("gate", [torch.tanh, torch.abs, torch.nn.functional.silu])
def test_activation_functions_of_mace_load(tmp_path, gate):
    assert read_pickle(store(tmp_path, [gate])) == [gate]


@pytest.mark.parametrize("trust", [False, True])
def test_model_stored_for_cuequivariance_is_refused_with_how_to_convert_it(
    tmp_path, monkeypatch, trust
):
    package = types.ModuleType("cuequivariance_torch")
    package.Linear = type("Linear", (torch.nn.Linear,), {"__module__": package.__name__})
    monkeypatch.setitem(sys.modules, package.__name__, package)
    model = make_backbone()
    model.node_embedding.linear = package.Linear(1, 1)
    path = store(tmp_path, model)
    with pytest.raises(UserError, match="foreign.model': .*`mace_cueq_to_e3nn MODEL") as caught:
        read_pickle(path, trust=trust)
    assert "--trust" not in str(caught.value)


def test_graphs_of_old_versions_of_torch_load(tmp_path):
    function, (body, imports) = symbolic_trace(lambda x: x).__reduce__()
    body = {**body, **{name: OrderedDict() for name in ("_parameters", "_buffers", "_modules")}}
    body["code"] = body.pop("_code")
    (graph,) = read_pickle(store(tmp_path, [Runs(function, body, imports)]))
    assert graph(3) == 3


def test_what_is_no_pickle_is_refused_without_trust_and_with_it(tmp_path):
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"nothing")
    for trust in (False, True):
        with pytest.raises(UserError, match="cannot be read as a model"):
            read_pickle(broken, trust=trust)
