"""mace_smile_train_screening: Born charges are learned, nothing else moves, and what it refuses."""

import ase.io
import numpy as np
import pytest
import torch

from helpers import GIVEN, STRUCTURES, evaluate, make_backbone, make_model
from mace_smile.cli.train_screening import main
from mace_smile.model.files import load_model

EMBEDDED = "examples/data/water_born_charges/water_born_charges_train.xyz"
BORN = "born_effective_charges"
KEPT = ("energy", "node_energy", "forces", "stress", "charges")


def clusters():
    """The smallest clusters of the embedded set."""
    return [atoms for atoms in ase.io.read(EMBEDDED, ":") if len(atoms) <= 9][:10]


def write(folder, model, frames=None):
    torch.save(model, folder / "in.model")
    ase.io.write(folder / "frames.xyz", clusters() if frames is None else frames)


def run(folder, *flags):
    names = [str(folder / "in.model"), f"--configs={folder / 'frames.xyz'}"]
    main([*names, f"--output={folder / 'out.model'}", "--lr=0.03", *flags])
    return load_model(folder / "out.model")


def refusal(folder, capsys, *flags):
    """The one sentence a refused call ends in; nothing is written."""
    with pytest.raises(SystemExit) as stop:
        run(folder, *flags)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert not (folder / "out.model").exists()
    return error[0]


def rmse(model, frames):
    """Error of Born charges over frames."""
    errors = [
        evaluate(model, atoms, compute_force=False)[BORN].detach().numpy().reshape(-1, 9)
        - atoms.arrays["REF_becs"]
        for atoms in frames
    ]
    return np.sqrt(np.mean(np.concatenate(errors) ** 2))


def small(**options):
    """A model with one layer."""
    return make_model("4x0e", 1, **{"screening": "none", **options})


@pytest.mark.parametrize("screening", ["uncoupled", "local"])
@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"susceptibility": 0.4, "learn_susceptibility": True}, torch.float32),
        (
            {"screening": "global", "screening_value": -1.3, "dipole_head": "local", **GIVEN},
            torch.float64,
        ),
    ],
    ids=["susceptibility", "given"],
)
def test_nothing_but_born_charges_changes(tmp_path, options, dtype, screening):
    write(tmp_path, small(**options).to(dtype), clusters()[:2])
    torch.set_default_dtype(dtype)
    before = load_model(tmp_path / "in.model")
    after = run(tmp_path, f"--screening={screening}", "--max_num_epochs=1")
    assert after.options.screening == screening
    assert after.r_max.dtype == dtype
    assert all(parameter.requires_grad for parameter in after.parameters())
    for build in STRUCTURES.values():
        old, new = (evaluate(one, build(), compute_stress=True) for one in (before, after))
        for name in (*KEPT, *(("macro_dipole",) if screening == "uncoupled" else ())):
            assert torch.equal(old[name], new[name]), name


@pytest.mark.parametrize(
    ("screening", "flags", "factor"),
    [
        ("uncoupled", ["--acoustic_sum_rule=subtract", "--becs_order=auto"], 0.6),
        ("local", ["--valid_fraction=0.2"], 0.9),
    ],
)
def test_born_charges_of_water_are_learned(tmp_path, screening, flags, factor, capsys):
    write(tmp_path, small(total_charge_constraint="none"))
    frames = clusters()
    flags = [f"--screening={screening}", "--overwrite", *flags]
    first = run(tmp_path, *flags, "--max_num_epochs=1", "--lr=1e-9")
    last = run(tmp_path, *flags, "--max_num_epochs=15")
    assert rmse(last, frames) < factor * rmse(first, frames)
    assert "| RMSE before |" in capsys.readouterr().out
    torch.save(last, tmp_path / "in.model")
    again = run(tmp_path, *flags[:2], "--max_num_epochs=1")
    assert rmse(again, frames) <= 1.01 * rmse(last, frames)  # went on with the head it has
    assert again.options.acoustic_sum_rule == last.options.acoustic_sum_rule


def test_local_factors_start_from_the_best_single_one(tmp_path, caplog):
    frames = clusters()[:3]
    model = small(screening="global", screening_value=-1.7)
    for atoms in frames:
        born = evaluate(model, atoms, compute_force=False)[BORN].detach().numpy()
        atoms.arrays["REF_becs"] = born.reshape(-1, 9)
    write(tmp_path, small(), frames)
    flags = ("--screening=local", "--max_num_epochs=1", "--overwrite", "--lr=1e-9")
    with caplog.at_level("INFO"):
        trained = run(tmp_path, *flags)
    assert trained.scale_value() == pytest.approx(-1.7, abs=1e-5)
    assert "start from -1.7000, the one that fits best" in caplog.text
    for atoms in frames:
        atoms.info["total_charge"] = 1.0  # then the energy depends on the factor, which stays
    write(tmp_path, small(), frames)
    assert run(tmp_path, *flags).scale_value() == 1.0


def test_a_mace_gets_an_uncoupled_readout(tmp_path, capsys):
    write(tmp_path, make_backbone("4x0e", 1), clusters()[:3])
    trained = run(tmp_path, "--screening=uncoupled", "--max_num_epochs=1")
    assert not trained.options.has_charges
    assert evaluate(trained, clusters()[0])[BORN].abs().max() > 0.01
    (tmp_path / "out.model").unlink()
    assert "has no charges that --screening local" in refusal(tmp_path, capsys, "--screening=local")


def zero_charges():
    model = small()
    with torch.no_grad():
        for parameter in model.charge_heads["charges"].parameters():
            parameter.zero_()
    return model


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--becs_order=displacement_first"], "is contradictory"),
        (["--becs_key=bec"], "has 'bec'; give the key"),
        (["--max_num_epochs=0"], "--max_num_epochs is 0 but must be at least 1"),
        (["--lr=nan"], "--lr is nan but must be positive"),
        (["--valid_fraction=1"], "--valid_fraction is 1.0 but must lie between"),
        (["--screening=uncoupled", "--born_charge_method=phase"], "uncoupled differentiates"),
        (["--head=other"], "the model has no head 'other'"),
        ([], "the charges of the model are zero in all frames"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, capsys, flags, message):
    write(tmp_path, zero_charges())
    assert message in refusal(tmp_path, capsys, "--screening=local", *flags)


def test_one_frame_cannot_be_split(tmp_path, capsys):
    write(tmp_path, small(), clusters()[:1])
    text = refusal(tmp_path, capsys, "--screening=local")
    assert "too few to set one aside for validation; add frames, or give --valid_configs" in text
    valid = f"--valid_configs={tmp_path / 'frames.xyz'}"
    run(tmp_path, "--screening=local", valid, "--max_num_epochs=1")
