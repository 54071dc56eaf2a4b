"""mace_smile_fit_screening: the factor it finds, the model it writes, what it refuses."""

import copy
import functools
import json

import ase.io
import numpy as np
import pytest
import torch

from helpers import GIVEN, STRUCTURES, evaluate, make_model
from mace_smile.cli.fit_screening import main
from mace_smile.model.files import load_model
from mace_smile.model.rescaling import with_screening_value

FACTOR = -1.7


def labelled(model, factor=FACTOR, noise=0.0, order="field_first", seed=0):
    """Frames of all boundaries with the Born charges the model has with a factor."""
    rng = np.random.default_rng(seed)
    frames = []
    rescaled = with_screening_value(copy.deepcopy(model), factor)  # the model itself stays as it is
    for build in STRUCTURES.values():
        atoms = build()
        born = evaluate(rescaled, atoms)["born_effective_charges"].double().numpy().copy()
        born += noise * rng.normal(size=born.shape)
        if order == "displacement_first":
            born = born.transpose(0, 2, 1)
        atoms.arrays["REF_becs"] = born.reshape(-1, 9)
        frames.append(atoms)
    return frames


@functools.cache
def _plain():
    model = make_model(screening="none")
    return model, labelled(model)


def plain():
    """A model with charges and frames it has the factor for; both may be changed."""
    return copy.deepcopy(_plain())


def write(folder, model, frames):
    torch.save(model, folder / "in.model")
    ase.io.write(folder / "frames.xyz", frames)


def run(folder, *extra):
    main(
        [str(folder / "in.model"), f"--configs={folder / 'frames.xyz'}"]
        + [f"--output={folder / 'out.model'}", "--becs_order=field_first", *extra]
    )


def refusal(folder, capsys, *extra):
    """The one sentence a refused call ends in; nothing is written."""
    with pytest.raises(SystemExit) as stop:
        run(folder, *extra)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert not list(folder.glob("out.*"))
    return error[0]


@pytest.mark.parametrize("fit", ["least_squares", "least_absolute"])
@pytest.mark.parametrize(
    "options",
    [
        {"screening": "none"},
        {"screening": "global", "learn_screening_value": True},
        {"screening": "none", "learn_susceptibility": True, "susceptibility": 0.4},
        {"screening": "global", "dipole_head": "local", "acoustic_sum_rule": "subtract"},
        {"screening": "none", "electrostatics": "none", **GIVEN},
    ],
    ids=["none", "learned", "susceptibility", "dipoles", "given"],
)
def test_the_factor_of_the_labels_is_found_and_written(tmp_path, options, fit):
    model = make_model(**options)
    frames = labelled(model)
    write(tmp_path, model, frames)
    run(tmp_path, f"--fit={fit}")
    fitted = load_model(tmp_path / "out.model")
    assert fitted.options.screening == "global"
    assert fitted.options.screening_value == pytest.approx(FACTOR, abs=2e-6)
    assert fitted.scale_value() == fitted.options.screening_value
    for atoms in frames:
        born = evaluate(fitted, atoms)["born_effective_charges"].numpy().reshape(-1, 9)
        np.testing.assert_allclose(born, atoms.arrays["REF_becs"], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {"screening": "none", "susceptibility": 0.4},
        {"screening": "global", "learn_screening_value": True, "coulomb_terms": "full"},
        {"long_range_readout": "learned", "long_range_channels": 2, "screening": "none"},
    ],
)
def test_energies_forces_and_stresses_stay_bit_for_bit(tmp_path, options, dtype):
    model = make_model(**options)
    with torch.no_grad():
        for parameter in model.charge_heads.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    model = model.to(dtype)
    torch.set_default_dtype(dtype)
    frames = labelled(model, noise=0.01)
    write(tmp_path, model, frames)
    original = load_model(tmp_path / "in.model")
    run(tmp_path)
    fitted = load_model(tmp_path / "out.model")
    assert fitted.r_max.dtype == dtype
    for atoms in frames:
        before = evaluate(original, atoms, compute_stress=True)
        after = evaluate(fitted, atoms, compute_stress=True)
        for name in ("energy", "node_energy", "forces", "stress", "charges"):
            assert torch.equal(before[name], after[name]), name
        assert not torch.equal(before["response_charges"], after["response_charges"])


def test_both_orders_of_the_labels_give_one_factor(tmp_path):
    model = make_model(screening="none")
    write(tmp_path, model, labelled(model, order="displacement_first"))
    for order in ("displacement_first", "auto"):
        run(tmp_path, f"--becs_order={order}", "--overwrite")
        value = load_model(tmp_path / "out.model").options.screening_value
        assert value == pytest.approx(FACTOR, abs=2e-6)


def test_the_method_of_the_derivative_may_be_chosen(tmp_path):
    write(tmp_path, *plain())
    run(tmp_path, "--born_charge_method=phase")
    fitted = load_model(tmp_path / "out.model")
    assert fitted.options.born_charge_method == "phase"
    assert fitted.options.screening_value == pytest.approx(FACTOR, rel=0.2)


def test_elements_and_classes_have_factors_of_their_own(tmp_path, capsys):
    model = make_model(screening="none")
    frames = labelled(model, factor=1.0)
    for atoms in frames:
        atoms.arrays["REF_becs"][atoms.symbols == "H"] *= 2.0
        atoms.info["phase"] = "film" if atoms.pbc.sum() == 2 else "other"
    frames.append(frames[0].copy())
    frames[-1].arrays["REF_becs"] *= 3.0
    frames[-1].info["phase"] = "strange"
    frames.append(frames[0].copy())
    frames[-1].arrays["REF_becs"] *= 9.0
    frames[-1].info["config_born_effective_charges_weight"] = 0.0  # does not count
    write(tmp_path, model, frames)
    run(tmp_path, "--json", "--class_key=phase", "--fit=least_absolute")
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["all"]["frames"] == 4
    assert content["screening_value"] == load_model(tmp_path / "out.model").scale_value()
    groups = content["groups"]
    boundaries = ["periodic", "slab", "open"]
    classes = ["phase=other", "phase=film", "phase=strange"]
    assert set(groups) == {"Ne", "O", "H", *boundaries, *classes}
    assert groups["Ne"]["factors"]["least_squares"]["value"] == pytest.approx(1.0, abs=1e-5)
    assert groups["H"]["factors"]["least_absolute"]["value"] == pytest.approx(2.0, abs=1e-5)
    once = groups["phase=film"]["factors"]["least_squares"]
    assert once["error"] is None  # one frame has no spread
    ratio = groups["phase=strange"]["factors"]["least_squares"]["value"]
    open_one = ase.io.read(tmp_path / "frames.xyz", 0).arrays["REF_becs"].ravel()
    slopes = evaluate(with_screening_value(model, 1.0), STRUCTURES["open"]())
    slopes = slopes["born_effective_charges"].numpy().ravel()
    assert ratio == pytest.approx(3.0 * (slopes @ open_one) / (slopes @ slopes), abs=1e-4)
    mae = np.abs(content["screening_value"] * slopes - 3.0 * open_one).mean()
    errors = groups["phase=strange"]["errors_with_overall_factors"]["least_absolute"]
    assert errors["mae"] == pytest.approx(mae, abs=1e-5)
    text = capsys.readouterr().out
    assert "least_absolute (written)" in text
    assert "energies, forces and stresses are unchanged" in text


def test_frames_of_one_run_are_drawn_together(tmp_path):
    """Copies of a frame tell nothing new: as one group they leave the uncertainty as it was."""
    model, frames = plain()
    frames = labelled(model, noise=0.3)
    for number, atoms in enumerate(frames):
        atoms.info["run"] = f"run {number}"
    errors = []
    for copies, flags in ((1, ()), (5, ()), (5, ("--group_key=run",))):
        write(tmp_path, model, frames * copies)
        run(tmp_path, "--json", "--overwrite", "--bootstrap=300", *flags)
        content = json.loads((tmp_path / "out.json").read_text())
        errors.append(content["all"]["factors"]["least_squares"]["error"])
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] == pytest.approx(errors[0], rel=1e-6)


def test_frames_of_many_sizes_and_files_are_classes(tmp_path):
    model, frames = plain()
    write(tmp_path, model, frames)
    ase.io.write(tmp_path / "more.xyz", frames[:1])
    run(tmp_path, "--json", "--configs", str(tmp_path / "frames.xyz"), str(tmp_path / "more.xyz"))
    groups = json.loads((tmp_path / "out.json").read_text())["groups"]
    assert {"frames.xyz", "more.xyz", "9 atoms", "24 atoms"} <= set(groups)
    assert groups["9 atoms"]["frames"] == 2


def test_charges_that_say_nothing_of_the_labels_are_told(tmp_path, caplog):
    model, frames = plain()
    frames = labelled(model, factor=1e-3, noise=3.0)
    write(tmp_path, model, frames)
    run(tmp_path)
    assert "cannot be told from zero" in caplog.text
    caplog.clear()
    write(tmp_path, *plain())
    run(tmp_path, "--overwrite")
    assert "cannot be told" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"screening": "uncoupled"}, "the model has --screening uncoupled"),
        ({"screening": "local"}, "the model has --screening local"),
        ({"charge_head": "none", "screening": "none"}, "the model has no charges"),
        ({"screening": "none", **GIVEN}, "given charges ('electrode_charge'), which enter"),
    ],
)
def test_models_without_such_a_factor_are_refused(tmp_path, capsys, options, message):
    write(tmp_path, make_model(**options), plain()[1])
    assert message in refusal(tmp_path, capsys)


def test_charges_that_are_zero_are_refused(tmp_path, capsys):
    model, frames = plain()
    with torch.no_grad():
        for parameter in model.charge_heads["charges"].parameters():
            parameter.zero_()
    write(tmp_path, model, frames)
    assert "the charges of the model are zero" in refusal(tmp_path, capsys)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--becs_key=bec"], "has 'bec'; give the key of the Born effective charges"),
        (["--class_key=phase"], "has the key 'phase' (--class_key)"),
        (["--group_key=run"], "has no 'run' (--group_key)"),
        (["--group_key=all"], "all frames have 'all' = 'one' (--group_key)"),
        (["--bootstrap=3"], "--bootstrap is 3 but must be at least 10"),
        (["--batch_size=0"], "--batch_size is 0 but must be at least 1"),
        (["--becs_order=displacement_first"], "is contradictory"),
        (["--configs=nowhere.xyz"], "there is no file 'nowhere.xyz'"),
        (["--head=other"], "the model has no head 'other'"),
        (["--output=/nowhere/out.model"], "there is no folder '/nowhere'"),
        (["--output=/tmp", "--overwrite"], "the output '/tmp' is a folder"),
    ],
)
def test_bad_flags_are_refused(tmp_path, capsys, flags, message):
    model, frames = plain()
    for atoms in frames:
        atoms.info["all"] = "one"
    write(tmp_path, model, frames)
    assert message in refusal(tmp_path, capsys, *flags)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.set_array("REF_becs", np.ones((len(atoms), 6))), "(24, 6)"),
        (lambda atoms: atoms.arrays["REF_becs"].fill(np.nan), "216 values that are NaN"),
        (lambda atoms: atoms.info.update(total_charge=1.0), "frame 1 has a net charge of 1 e"),
        (lambda atoms: atoms.info.update(total_charge="one"), "'total_charge' is 'one' but must"),
        (lambda atoms: atoms.set_pbc([True, False, False]), "one axis only"),
        (lambda atoms: atoms.numbers.__setitem__(0, 6), "frame 1: "),
    ],
)
def test_bad_frames_are_refused(tmp_path, capsys, change, message):
    model, frames = plain()
    if message == "(24, 6)":
        del frames[1].arrays["REF_becs"]
    change(frames[1])
    write(tmp_path, model, frames)
    assert message in refusal(tmp_path, capsys)


def test_charged_structures_pass_where_their_energy_does_not_depend_on_the_factor(tmp_path):
    model = make_model(screening="none", total_charge_constraint="none")
    frames = labelled(model)
    frames[0].info["total_charge"] = 1.0
    write(tmp_path, model, frames)
    run(tmp_path)
    fitted = load_model(tmp_path / "out.model")
    assert fitted.options.screening_value == pytest.approx(FACTOR, abs=2e-6)
    before, after = (evaluate(one, frames[0])["energy"] for one in (model, fitted))
    assert torch.equal(before, after)


def test_nothing_is_replaced_unasked(tmp_path, capsys):
    write(tmp_path, *plain())
    content = (tmp_path / "in.model").read_bytes()
    text = refusal(tmp_path, capsys, f"--output={tmp_path / 'in.model'}", "--overwrite")
    assert "is an input; choose another name" in text
    assert (tmp_path / "in.model").read_bytes() == content
    run(tmp_path)
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert "exists; give another name, or --overwrite" in capsys.readouterr().err
