import numpy as np
import pytest
import torch

from frozen_data import CHI, HYDROGEN_CHARGE, arguments, log_of, prepare, slab, slabs
from helpers import make_batch, make_model
from mace_smile.errors import UserError
from mace_smile.frozen import backbone, commands
from mace_smile.model.files import load_model


def _outputs(model, atoms):
    output = model(make_batch([atoms], load_model_of(model)), compute_stress=True)
    return output["energy"], output["forces"], output["stress"]


def load_model_of(model):
    """Something with the options that a batch needs."""
    if hasattr(model, "options"):
        return model
    plain = make_model("4x0e", 1, electrostatics="none", screening="none")
    plain.backbone = model
    return plain


def test_energies_forces_and_stresses_are_those_of_the_frozen_model(tmp_path):
    prepare(tmp_path, slabs(3, 2))
    commands.train_charges(arguments(tmp_path, "--susceptibility=0.5"))
    model = load_model(tmp_path / "film.model")
    mace = torch.load(tmp_path / "mace.model", weights_only=False)
    for atoms in (slab(7, 0, 0.1), slab(8, 0, 0.0)):
        for ours, theirs in zip(_outputs(model, atoms), _outputs(mace, atoms), strict=True):
            assert torch.equal(ours, theirs)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_dipoles_of_unseen_slabs_are_those_of_the_law(tmp_path):
    prepare(tmp_path, slabs(5, 2))
    commands.train_charges(arguments(tmp_path, f"--susceptibility={CHI}", "--l2_dipoles=1e-8"))
    model = load_model(tmp_path / "film.model")
    frames = [slab(run, 5, charge) for run in range(4) for charge in (0.0, 0.3)]
    dipoles = model(make_batch(frames, model), compute_force=False)["macro_dipole"][:, 2]
    wanted = torch.tensor([atoms.info["REF_dipole"][2] for atoms in frames])
    assert (dipoles - wanted).square().mean().sqrt() < 0.01 * wanted.std()


def test_learned_susceptibility_is_that_of_the_data_and_in_the_log(tmp_path):
    prepare(tmp_path, slabs(3, 2))
    commands.train_charges(arguments(tmp_path, "--susceptibility=learned", "--l2_dipoles=1e-6"))
    model = load_model(tmp_path / "film.model")
    assert model.susceptibility_value() == pytest.approx(CHI, abs=0.01)
    assert "Susceptibility chi of the macro-dipole relation: 0.50" in log_of(
        tmp_path, "film_charges"
    )


def test_charges_of_atoms_as_labels(tmp_path):
    prepare(tmp_path, slabs(3, 2))
    flags = ("--charges_key=REF_charges", "--macro_dipole_weight=0", "--dipole_head=none")
    args = arguments(tmp_path, *flags)
    args.dipole_elements = None
    commands.train_charges(args)
    model = load_model(tmp_path / "film.model")
    atoms = slab(7, 0, 0.1)
    charges = model(make_batch([atoms], model), compute_force=False)["charges"].detach().numpy()
    assert np.abs(charges - atoms.arrays["REF_charges"]).max() < 0.02
    assert charges[atoms.numbers == 1].mean() == pytest.approx(HYDROGEN_CHARGE, abs=0.01)


@pytest.mark.parametrize("name", ["born_effective_charges", "polarizability"])
def test_heads_of_the_frozen_model_are_kept(tmp_path, name):
    prepare(tmp_path, slabs(3, 2))
    heads = {"electrostatics": "none", "charge_head": "none", "polarizability_head": "local"}
    given = make_model("4x0e", 1, **heads)
    torch.save(given, tmp_path / "mace.model")
    commands.train_charges(arguments(tmp_path))
    model = load_model(tmp_path / "film.model")
    atoms = slab(7, 0, 0.1)
    theirs = given(make_batch([atoms], given), compute_force=False)[name]
    assert torch.equal(model(make_batch([atoms], model), compute_force=False)[name], theirs)


def test_backbone_is_trained_first_and_reused(tmp_path, monkeypatch):
    prepare(tmp_path, slabs(3, 2))
    small = "--num_channels=4 --max_L=0 --correlation=1 --num_interactions=1 --max_ell=1"
    flags = [*small.split(), "--max_num_epochs=1", "--plot=False", "--pin_memory=False"]
    flags += ["--eval_interval=1", "--valid_batch_size=2"]
    commands.train_charges(arguments(tmp_path, *flags, foundation=False))
    assert "a MACE is trained on energies and forces first" in log_of(tmp_path, "film_charges")
    frozen = load_model(tmp_path / "film_backbone.model")
    model = load_model(tmp_path / "film.model")
    for ours, theirs in zip(
        _outputs(model, slab(7, 0, 0.1)), _outputs(frozen, slab(7, 0, 0.1)), strict=True
    ):
        assert torch.equal(ours, theirs)

    def refuse(args):
        raise AssertionError("trained again")

    monkeypatch.setattr(backbone, "train", refuse)
    commands.train_charges(arguments(tmp_path, *flags, "--overwrite", foundation=False))
    assert "trained by an earlier command" in log_of(tmp_path, "film_charges")
    with pytest.raises(AssertionError, match="trained again"):
        commands.train_charges(
            arguments(tmp_path, *flags, "--r_max=3.9", "--overwrite", foundation=False)
        )


def _contradicting(frames):
    frames[0].arrays["wall"][:] = 1
    frames[0].info["total_charge"] = 1.0
    return frames


def _with_argon(frames):
    frames[0].numbers[0] = 18
    return frames


def _polarized(frames):
    for atoms in frames:
        atoms.info["REF_polarizability"] = np.eye(3).ravel()
    return frames


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        (list, ("--electrostatics=ewald",), "would add to the energy"),
        (list, ("--foundation_model=nowhere",), "'nowhere' is no file and no name"),
        (list, ("--l2_dipoles=-1",), "--l2_dipoles is -1.0 but must be positive"),
        (list, ("--screening=uncoupled",), "not trained on a frozen MACE|no training frame"),
        (_polarized, ("--polarizability_head=local",), "local is not trained on a frozen MACE"),
        (list, ("--heads={'a':{}}",), "--heads is not supported"),
        (_contradicting, (), "total"),
        (_with_argon, (), "Ar"),
    ],
)
def test_errors_say_what_to_do(tmp_path, change, flags, message):
    prepare(tmp_path, change(slabs(2, 2)))
    with pytest.raises(UserError, match=message):
        commands.train_charges(arguments(tmp_path, *flags))


def test_foundation_model_must_be_a_mace_without_electrostatics(tmp_path):
    prepare(tmp_path, slabs(2, 2))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "mace.model")
    with pytest.raises(UserError, match="cannot be read as a model|holds a Linear"):
        commands.train_charges(arguments(tmp_path))
    torch.save(make_model("4x0e", electrostatics="ewald"), tmp_path / "mace.model")
    with pytest.raises(UserError, match="has an electrostatic energy"):
        commands.train_charges(arguments(tmp_path))


def test_existing_model_is_not_replaced(tmp_path):
    prepare(tmp_path, slabs(2, 2))
    commands.train_charges(arguments(tmp_path))
    with pytest.raises(UserError, match="film.model' exists"):
        commands.train_charges(arguments(tmp_path))


def test_dipole_along_a_periodic_axis_needs_the_quantum(tmp_path):
    prepare(tmp_path, slabs(2, 2))
    with pytest.raises(UserError, match="periodic axis"):
        commands.train_charges(arguments(tmp_path, "--dipole_axes=xyz"))
