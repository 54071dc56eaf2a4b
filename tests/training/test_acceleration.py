"""Training with cuEquivariance: with the packages where they are, always with stand-ins."""

import copy
import importlib.util

import ase.io
import numpy as np
import pytest
import torch
from e3nn import o3

from helpers import bulk_water, make_batch, make_model
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.training import acceleration_checks, mace_bridge
from mace_smile.training.acceleration import (
    NodeFeaturesOfE3nn,
    fuse_backbone,
    with_plain_backbone,
)
from mace_smile.training.acceleration_checks import check_acceleration
from mace_smile.training.mace_bridge import run_e3nn_to_cueq
from training_data import frames, parse, run, validation, write

PRECISIONS = {"float64": (torch.float64, 1e-11), "float32": (torch.float32, 1e-5)}
needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in acceleration_checks.PACKAGES),
    reason="the optional packages cuequivariance and cuequivariance-torch are not installed",
)
#: Of MACE's converters.
quiet = pytest.mark.filterwarnings(
    "ignore:The TorchScript type system:UserWarning",
    "ignore:To copy construct:UserWarning",
    "ignore:cuequivariance_ops_torch is not available:UserWarning",
)


def layers_of(backbone):
    return [o3.Irreps(str(product.linear.irreps_out)) for product in backbone.products]


def to_component_first(features, layers):
    """Features as cuEquivariance keeps them (`ir_mul`), by an algorithm of its own."""
    blocks, start = [], 0
    for layer in layers:
        for mul, ir in layer:
            block = features[:, start : start + mul * ir.dim].reshape(-1, mul, ir.dim)
            blocks.append(block.transpose(1, 2).flatten(1))
            start += mul * ir.dim
    return torch.cat(blocks, dim=1)


class StandIn:
    """MACE's two converters, of which a backbone comes back with its features in another order."""

    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr(acceleration_checks, "PACKAGES", ())
        monkeypatch.setattr(mace_bridge, "run_e3nn_to_cueq", self.fuse)
        monkeypatch.setattr("mace.cli.run_train.run_cueq_to_e3nn", self.restore)

    def fuse(self, backbone, device=None):
        assert type(backbone).__name__ == "ScaleShiftMACE"
        assert device == torch.device("cpu")
        self.calls.append("fuse")
        fused = copy.deepcopy(backbone)
        fused.is_stand_in = True
        layers = layers_of(fused)

        def reorder(module, data, output):
            return {**output, "node_feats": to_component_first(output["node_feats"], layers)}

        fused.register_forward_hook(reorder)
        return fused

    def restore(self, backbone, device=None):
        assert backbone.is_stand_in
        self.calls.append("restore")
        plain = copy.deepcopy(backbone)
        del plain.is_stand_in
        plain._forward_hooks.clear()
        return plain


@pytest.mark.parametrize(
    ("flag", "precision"), [("--enable_cueq=True", "float64"), ("--only_cueq=True", "float32")]
)
def test_backbone_is_converted_for_the_training_and_back_for_each_file(
    tmp_path, monkeypatch, flag, precision
):
    common = ("--screening=uncoupled", "--dipole_head=local", "--max_num_epochs=2", "--start_swa=1")
    common = (*common, f"--default_dtype={precision}", "--max_L=2")
    for name in ("plain", "fused"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, frames(4))
    run(tmp_path / "plain", *common)
    stand_in = StandIn(monkeypatch)
    run(tmp_path / "fused", *common, flag)
    assert stand_in.calls == ["fuse", "restore", "restore"]
    plain, fused = (
        [{**entry, "time": None} for entry in validation(tmp_path / name)]
        for name in ("plain", "fused")
    )
    assert fused == plain
    for name in ("water.model", "water_stagetwo.model"):
        plain, fused = (load_model(tmp_path / kind / name) for kind in ("plain", "fused"))
        assert not hasattr(fused.backbone, "is_stand_in")
        assert not fused.backbone._forward_hooks
        for key, value in plain.state_dict().items():
            assert torch.equal(fused.state_dict()[key], value), key
    compiled = tmp_path / "fused" / "water_stagetwo_compiled.model"
    assert compiled.is_file()


def test_run_with_cuequivariance_restarts_with_it_only(tmp_path, monkeypatch):
    StandIn(monkeypatch)
    write(tmp_path, frames(4))
    run(tmp_path, "--enable_cueq=True", "--max_num_epochs=1", "--ema")
    flags = ("--restart_latest", "--max_num_epochs=2", "--ema")
    with pytest.raises(UserError, match="--enable_cueq was True and is now False"):
        run(tmp_path, *flags)
    run(tmp_path, *flags, "--only_cueq=True")
    assert [entry["epoch"] for entry in validation(tmp_path)][-1] == 1


def test_freezing_survives_the_conversion(monkeypatch):
    stand_in, model = StandIn(monkeypatch), make_model()
    for parameter in model.backbone.products.parameters():
        parameter.requires_grad_(False)
    wanted = {name: value.requires_grad for name, value in model.named_parameters()}

    def convert(backbone, device=None):
        return stand_in.fuse(backbone, device).requires_grad_(True)

    fuse_backbone(model, convert)
    assert {name: value.requires_grad for name, value in model.named_parameters()} == wanted


def test_parameters_that_get_lost_are_named(monkeypatch):
    stand_in, model = StandIn(monkeypatch), make_model()

    def convert(backbone, device=None):
        changed = stand_in.fuse(backbone, device)
        changed.node_embedding.linear.weight.data += 1.0
        return changed

    with pytest.raises(RuntimeError, match=r"differ in node_embedding\.linear\.weight$"):
        fuse_backbone(model, convert)


def test_order_of_features_is_that_of_e3nn():
    layers = [o3.Irreps("3x0e+2x1o+4x2e"), o3.Irreps("5x0e")]
    given = torch.randn(6, sum(layer.dim for layer in layers))
    outputs = {"node_feats": to_component_first(given, layers), "energy": torch.ones(1)}
    assert not torch.equal(outputs["node_feats"], given)
    found = NodeFeaturesOfE3nn(layers)(torch.nn.Identity(), (), outputs)
    assert torch.equal(found["node_feats"], given)
    assert found["energy"] is outputs["energy"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--enable_cueq=True --lora=True", "--enable_cueq would lose the matrices of --lora"),
        ("--only_cueq=True --freeze=7", "--only_cueq would change the energy by rounding"),
        ("--enable_cueq=True --correlation=4", "cannot convert a MACE with --correlation 4"),
        ("--enable_oeq=True", "--enable_oeq is not supported.*or use --enable_cueq True"),
    ],
)
def test_what_would_be_lost_is_refused(tmp_path, monkeypatch, flags, message):
    monkeypatch.setattr(acceleration_checks, "PACKAGES", ())
    with pytest.raises(UserError, match=message):
        check_acceleration(parse(tmp_path, *flags.split()))


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(acceleration_checks, "PACKAGES", ("no_such_package",))
    with pytest.raises(UserError, match="--only_cueq needs the packages no_such_package: pip"):
        check_acceleration(parse(tmp_path, "--only_cueq=True"))


def test_derivatives_that_follow_edges_are_refused(tmp_path, monkeypatch):
    StandIn(monkeypatch)
    write(tmp_path, frames(4))
    with pytest.raises(UserError, match=r"--screening global.*which the fused convolutions.*hide"):
        run(tmp_path, "--enable_cueq=True", "--screening=global")


@quiet
@needs_packages
@pytest.mark.parametrize("precision", PRECISIONS)
def test_cuequivariance_gives_every_output_there_and_back(precision):
    dtype, tolerance = PRECISIONS[precision]
    torch.set_default_dtype(dtype)
    convert_back = pytest.importorskip("mace.cli.convert_cueq_e3nn").run
    model = make_model("8x0e+8x1o+8x2e", screening="uncoupled", dipole_head="local")
    batch = make_batch([bulk_water()], model)
    wanted = model(dict(batch), compute_stress=True)
    fused = copy.deepcopy(model)
    fuse_backbone(fused, run_e3nn_to_cueq)
    assert fused.backbone.state_dict().keys() != model.backbone.state_dict().keys()
    plain = with_plain_backbone(convert_back, None)(copy.deepcopy(fused))
    assert plain.state_dict().keys() == model.state_dict().keys()
    for found in (fused(dict(batch), compute_stress=True), plain(batch, compute_stress=True)):
        for name, value in wanted.items():
            if value is None:
                continue
            scale = value.detach().abs().max().item()
            assert found[name].dtype == value.dtype
            torch.testing.assert_close(
                found[name], value, rtol=tolerance, atol=tolerance * max(scale, 1.0), msg=name
            )


@quiet
@needs_packages
@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_with_cuequivariance_stores_what_it_trained(tmp_path, precision):
    dtype, _ = PRECISIONS[precision]
    write(tmp_path, frames(6))
    write(tmp_path, frames(8)[6:], "valid.xyz")
    flags = ("--enable_cueq=True", "--screening=uncoupled", "--max_num_epochs=3", "--lr=0.02")
    run(tmp_path, *flags, f"--valid_file={tmp_path}/valid.xyz", f"--default_dtype={precision}")
    entries = validation(tmp_path)
    best = min(entries, key=lambda entry: entry["loss"])
    assert best["loss"] < 0.8 * entries[0]["loss"]
    torch.set_default_dtype(dtype)
    model = load_model(tmp_path / "water.model")
    assert "products.0.symmetric_contractions.weight" not in model.backbone.state_dict()
    errors = []
    for atoms in ase.io.read(tmp_path / "valid.xyz", ":"):
        forces = model(make_batch([atoms], model))["forces"].detach().numpy()
        errors.append(forces - atoms.arrays["REF_forces"])
    error = np.sqrt(np.mean(np.concatenate(errors) ** 2))
    assert error == pytest.approx(best["rmse_f"], rel=1e-8 if precision == "float64" else 1e-4)


@quiet
@needs_packages
def test_a_foundation_model_starts_with_the_loss_it_has_without(tmp_path):
    write(tmp_path, frames(6))
    run(tmp_path, "--screening=uncoupled", "--max_num_epochs=1")
    foundation = tmp_path / "water.model"
    losses = []
    for flag in ("--enable_cueq=False", "--enable_cueq=True"):
        directory = tmp_path / flag
        directory.mkdir()
        write(directory, frames(6))
        flags = ("--max_num_epochs=1", "--E0s=foundation", "--multiheads_finetuning=False", flag)
        run(directory, f"--foundation_model={foundation}", *flags)
        losses.append(validation(directory)[0]["loss"])
        load_model(directory / "water.model")
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)
