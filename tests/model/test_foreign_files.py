"""Files made by hand to run code when they are loaded: each is refused, and its code does not run.

Most are loaded once more with trust, to see that they would have done what they are made for.
"""

import contextlib
import io
import os
import pickle
import tarfile
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from e3nn import o3
from torch.fx.graph_module import reduce_graph_module

from helpers import make_model
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.model.pickles import read_pickle

IMPORTS = "import torch\n"
quiet = pytest.mark.filterwarnings("ignore", "ignore::DeprecationWarning", "ignore::UserWarning")


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def with_state(module, state):
    """A module whose pickle has other attributes than it has itself."""
    module.__dict__["__getstate__"] = lambda: state
    return module


def body(code, **extra):
    """Attributes of a graph, as far as torch asks for them."""
    function = f"def forward(self):\n    {code}\n    return 1\n"
    empty = {"training": False, "_parameters": {}, "_buffers": {}, "_modules": {}}
    return {**empty, "_code": function, **extra}


def two_graphs(sign):
    inner = body(f"self.view({str(sign)!r})")
    outer = body("self.box['view'] = torch.os.mkdir", box=inner)
    return [Calls(reduce_graph_module, one, IMPORTS) for one in (outer, inner)]


def graph_with_code_in_its_imports(sign):
    imports = f"__import__('os').mkdir({str(sign)!r})\n"
    return [Calls(reduce_graph_module, body("pass"), imports)]


class Script(torch.nn.Module):
    """TorchScript that makes a file when it is loaded."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = torch.from_file(state[0], shared=True, size=1).numel() == 0


def script(sign):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Script(str(sign))), buffer)
    return buffer.getvalue()


def generated_code(sign):
    linear = o3.Linear("1x0e", "1x0e")
    state = linear.__getstate__()
    return with_state(linear, {**state, "__codegen__": {"_compiled_main": script(sign)}})


def model_with_a_command(sign):
    model = make_model()
    model.extra = Calls(os.mkdir, str(sign))
    return model


def stored_function(sign):
    return [Calls(partial, os.mkdir, str(sign)), Calls(os.mkdir, str(sign))]


def array_of_objects(sign):
    return np.array([Calls(os.mkdir, str(sign)), None], dtype=object)


def nested_file(sign):
    buffer = io.BytesIO()
    torch.save(Calls(os.mkdir, str(sign)), buffer)
    return [Calls(torch.storage._load_from_bytes, buffer.getvalue())]


EVIL = [
    two_graphs,
    graph_with_code_in_its_imports,
    generated_code,
    model_with_a_command,
    stored_function,
    array_of_objects,
    nested_file,
]


@quiet
@pytest.mark.parametrize("make", EVIL, ids=lambda make: make.__name__)
def test_code_runs_with_trust_only(tmp_path, make):
    sign, path = tmp_path / "it_ran", tmp_path / "evil.model"
    torch.save(make(sign), path)
    with pytest.raises(UserError, match="--trust") as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)
    assert not sign.exists()
    with contextlib.suppress(UserError):
        read_pickle(path, trust=True)
    assert sign.exists()


def test_graph_whose_attributes_are_no_dictionary_is_refused(tmp_path):
    sign, path = tmp_path / "it_ran", tmp_path / "evil.model"
    content = body(f"__import__('os').mkdir({str(sign)!r})")
    keys = dict.fromkeys(content)
    state = {**content, "get": torch.nn.Identity(), "_keys": keys}
    graph = with_state(torch.nn.ParameterDict(), state)
    torch.save([Calls(reduce_graph_module, graph, IMPORTS)], path)
    with pytest.raises(UserError, match=r"puts something in place of ParameterDict.get.*--trust"):
        read_pickle(path)
    del state["get"]
    torch.save([Calls(reduce_graph_module, graph, IMPORTS)], path)
    with pytest.raises(UserError, match=r"graph in a form that torch does not write.*--trust"):
        read_pickle(path)
    assert not sign.exists()


def text(value):
    """A string in a pickle."""
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def write_pickle(path, content, extra=None):
    """A file of ``torch.save`` with a pickle made by hand.

    :param extra: content of other records, by name.
    """
    torch.save([], path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    pickles = {name: b"\x80\x02" + content for name in records if name.endswith("data.pkl")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**records, **pickles, **(extra or {})}.items():
            archive.writestr(name, data)
    return path


IDENTITY = b"ctorch.nn.modules.linear\nIdentity\n"
NEW, SET, CALL, STOP = b")\x81", b"b", b"R", b"."
PUT, GET, PAIR = b"q\x00", b"h\x00", b"\x86"
BY_HAND = {
    "set_twice": (IDENTITY + NEW + PUT + b"}" + SET + GET + b"}" + SET, "that is complete"),
    "attributes_of_a_class": (
        IDENTITY + b"N}" + text("forward") + b"Ns" + PAIR + SET,
        "that is complete",
    ),
    "in_place_of_a_method": (
        IDENTITY + NEW + b"}" + text("eval") + IDENTITY + NEW + b"s" + SET,
        "in place of Identity.eval",
    ),
    "hooks": (
        IDENTITY + NEW + b"}" + text("_forward_hooks") + b"}K\x01" + IDENTITY + NEW + b"ss" + SET,
        "functions that run by themselves",
    ),
    "attributes_that_are_no_dictionary": (IDENTITY + NEW + IDENTITY + NEW + SET, "Identity where"),
    "appends_to_an_object": (IDENTITY + NEW + b"K\x01a", "no list"),
    "items_of_an_object": (IDENTITY + NEW + b"K\x01K\x01s", "no dictionary"),
    "constructor": (IDENTITY + b")" + CALL, "calls Identity"),
    "arguments_of_an_object": (IDENTITY + b"K\x01\x85\x81", "makes a Identity"),
    "other_codec": (b"c_codecs\nencode\n" + text("a") + text("idna") + PAIR + CALL, "encode"),
    "other_attribute": (
        b"c__builtin__\ngetattr\nctorch._C\n_VariableFunctionsClass\n"
        + (text("__init__") + PAIR + CALL),
        "calls getattr",
    ),
    "attribute_of_something_else": (
        b"c__builtin__\ngetattr\n" + IDENTITY + text("tanh") + PAIR + CALL,
        "calls getattr",
    ),
    "set_of_an_object": (b"c__builtin__\nset\n" + IDENTITY + NEW + b"\x85" + CALL, "calls set"),
    "type_of_objects": (b"cnumpy\ndtype\n" + text("O8") + b"\x85" + CALL, "calls numpy.dtype"),
    "other_persistent_object": (text("module") + b"Q", "outside of itself"),
    "old_call": (b"(iposix\ngetcwd\n", "operation INST"),
    "older_call": (b"(cposix\ngetcwd\no", "asks for posix.getcwd"),
    "name_from_the_stack": (b"\x8c\x05posix\x8c\x06getcwd\x93)R", "operation SHORT_BINUNICODE"),
    "registered_name": (b"\x82\x01", "operation EXT1"),
    "compiled_class": (b"ctorch.jit._script\nRecursiveScriptModule\n", "asks for torch.jit._sc"),
    "module_that_loads": (b"ctorch.serialization\nload\n", "asks for torch.serialization.load"),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_pickles_made_by_hand_are_refused(tmp_path, name):
    content, reason = BY_HAND[name]
    forward = torch.nn.Identity.forward
    with pytest.raises(UserError, match=f"{reason}.*--trust"):
        read_pickle(write_pickle(tmp_path / "evil.model", content + STOP))
    assert torch.nn.Identity.forward is forward


def test_hooks_that_are_filled_later_do_not_belong_to_the_module(tmp_path):
    state = b"}" + text("_forward_hooks") + b"}" + PUT + b"s"
    later = GET + b"K\x01" + b"ctorch.nn.functional\nsilu\n" + b"s"
    content = IDENTITY + NEW + state + SET + later + PAIR + STOP
    module, hooks = read_pickle(write_pickle(tmp_path / "evil.model", content))
    assert list(hooks) == [1]
    assert not module._forward_hooks


def test_second_pickle_of_a_file_is_not_read(tmp_path):
    sign = tmp_path / "it_ran"
    command = pickle.dumps(Calls(os.mkdir, str(sign)), 2)
    extra = {"evil/other/data.pkl": command, "evil/data/0": command}
    path = write_pickle(tmp_path / "evil.model", b"K\x01" + STOP, extra)
    assert read_pickle(path) == 1
    assert not sign.exists()


def test_environment_is_not_changed(tmp_path, monkeypatch):
    monkeypatch.delenv("CANARY", raising=False)
    graph = Calls(reduce_graph_module, body("torch.os.environ['CANARY'] = 'yes'"), IMPORTS)
    torch.save([graph], tmp_path / "evil.model")
    with pytest.raises(UserError, match=r"no MACE has: `torch.os.environ.*--trust"):
        read_pickle(tmp_path / "evil.model")
    assert "CANARY" not in os.environ


@pytest.mark.parametrize("is_tar", [False, True])
def test_old_formats_of_torch_are_refused(tmp_path, is_tar):
    sign, path = tmp_path / "it_ran", tmp_path / "evil.model"
    command = pickle.dumps(Calls(os.mkdir, str(sign)), 2)
    if is_tar:
        with tarfile.open(path, "w") as archive:
            for name in ("storages", "tensors", "pickle"):
                info = tarfile.TarInfo(name)
                info.size = len(command)
                archive.addfile(info, io.BytesIO(command))
    else:
        path.write_bytes(command)
    with pytest.raises(UserError, match=r"older than MACE.*--trust"):
        read_pickle(path)
    assert not sign.exists()


@quiet
@pytest.mark.parametrize("read", [read_pickle, load_model])
def test_torchscript_is_not_loaded_as_a_model(tmp_path, read):
    sign, path = tmp_path / "it_ran", tmp_path / "evil.model"
    path.write_bytes(script(sign))
    with pytest.raises(UserError, match="one it was made from|file it was made from"):
        read(path)
    assert not sign.exists()
    torch.jit.load(path)
    assert sign.exists()


def test_byte_order_changes_nothing(tmp_path):
    sign = tmp_path / "it_ran"
    command = pickle.dumps(Calls(os.mkdir, str(sign)), 2)[2:]
    path = write_pickle(tmp_path / "evil.model", command, {"evil/byteorder": b"big"})
    with pytest.raises(UserError, match="--trust|cannot be read"):
        read_pickle(path)
    assert not sign.exists()
