"""A model file may hold code; what a stranger has put into one must not run."""

import os
import pickle
import zipfile
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


def store(tmp_path: Path, content, **settings) -> Path:
    path = tmp_path / "foreign.model"
    torch.save(content, path, **settings)
    return path


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_command_in_a_model_does_not_run(tmp_path, is_zip):
    sign = tmp_path / "it_ran"
    model = make_model()
    model.extra = Runs(os.mkdir, str(sign))
    path = store(tmp_path, model, _use_new_zipfile_serialization=is_zip)
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


@pytest.mark.parametrize(
    "source",
    [
        "import os\n",
        "from torch import hub as einsum\n",
        "from torch.hub import load\n",
        "import torch as math\n",
        "print(1)\n",
        "torch.load('a')\n",
        "torch.functional.einsum.__globals__\n",
        "torch = 1\n",
        "torch.einsum = eval\n",
        "def forward(self, x=eval('1')): pass\n",
        "@eval\ndef forward(self): pass\n",
        "(lambda: 1)()\n",
        "[a for a in b]\n",
        "this is no code",
    ],
)
def test_source_code_that_does_more_than_multiply_is_refused(source):
    with pytest.raises(ForeignContent, match="source code"):
        check_graph_code(source)


def test_source_code_of_a_contraction_is_allowed():
    check_graph_code(
        "NoneType = type(None)\nimport torch\nfrom math import inf\nfrom torch import device\n"
        "import torch.fx._pytree as fx_pytree\n"
        "def forward(self, x, y):\n"
        "    einsum = torch.functional.einsum('ab,bc->ac', x, y);  x = y = None\n"
        "    return torch.functional.tensordot(einsum, y, dims = ((1,), (0,)), out = None)\n"
    )


@pytest.mark.parametrize("make", [make_backbone, make_model, lambda: make_model("4x0e", 1)])
def test_models_of_mace_and_ours_load(tmp_path, make):
    model = make()
    loaded = read_pickle(store(tmp_path, model))
    assert loaded.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("gate", [torch.tanh, torch.abs, torch.nn.functional.silu])
def test_activation_functions_of_mace_load(tmp_path, gate):
    assert read_pickle(store(tmp_path, [gate])) == [gate]


def test_what_is_no_pickle_is_refused_without_trust_and_with_it(tmp_path):
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"nothing")
    for trust in (False, True):
        with pytest.raises(UserError, match="cannot be read as a model"):
            read_pickle(broken, trust=trust)
