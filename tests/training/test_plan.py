import ase
import numpy as np
import pytest
import torch

from helpers import make_model
from mace_smile.errors import UserError
from mace_smile.physics.electrostatics import COULOMB_CONSTANT
from mace_smile.training.losses import TermWeights
from mace_smile.training.plan import plan_training
from training_data import frames, labelled, parse, write


def plan(tmp_path, structures, *flags):
    write(tmp_path, structures)
    return plan_training(parse(tmp_path, *flags))


def without(structures, *keys):
    for atoms in structures:
        for key in keys:
            atoms.info.pop(key, None)
            atoms.arrays.pop(key, None)
    return structures


def isolated(symbol, energy=-1.0):
    atoms = ase.Atoms(symbol)
    atoms.info.update(config_type="IsolatedAtom", REF_energy=energy)
    return atoms


def test_labels_that_are_found_are_trained_with_weight_one(tmp_path):
    found = plan(tmp_path, frames(), "--screening=uncoupled")
    assert found.weights == (
        TermWeights("macro_dipole", 1.0, 1.0, "per_atom"),
        TermWeights("born_effective_charges", 1.0, 1.0),
    )


def test_options_tell_the_labels_of_the_training(tmp_path):
    found = plan(tmp_path, frames(), "--screening=uncoupled")
    born = ("macro_dipole", "born_effective_charges")
    assert found.options.training_labels == ("energy", "forces", *born)
    found = plan(tmp_path, frames(), "--forces_weight=0", "--macro_dipole_weight=0")
    assert "forces" not in found.options.training_labels


@pytest.mark.parametrize("weight", ["0", None])
@pytest.mark.parametrize(
    ("flags", "wish"),
    [
        ("--screening=local --screening_value=1.3", "--screening local"),
        ("--screening=global --screening_value=learned", "--screening_value learned"),
        ("--screening=global", "--screening global without --screening_value"),
    ],
)
def test_screening_factors_need_labels_or_a_value(tmp_path, flags, wish, weight):
    structures, flags, reason = frames(), flags.split(), "no training frame has Born effective"
    if weight is None:
        without(structures, "REF_becs")
    else:
        flags.append(f"--born_effective_charges_weight={weight}")
        reason = "--born_effective_charges_weight is 0"
    message = f"{wish} takes the factor .* but {reason}.*--screening global --screening_value VALUE"
    with pytest.raises(UserError, match=message):
        plan(tmp_path, structures, *flags)


@pytest.mark.parametrize("flag", ["--screening_value=1.33", "--susceptibility=0.8"])
def test_a_given_factor_needs_no_labels_and_takes_them_where_they_are(tmp_path, flag):
    flags = ("--screening=global", flag)
    assert "born_effective_charges" in [t.name for t in plan(tmp_path, frames(), *flags).weights]
    alone = plan(tmp_path, without(frames(), "REF_becs"), *flags)
    assert [term.name for term in alone.weights] == ["macro_dipole"]
    assert alone.labels.ignores_born_effective_charges
    idle = plan(tmp_path, frames(), *flags, "--born_effective_charges_weight=0")
    assert idle.labels.ignores_born_effective_charges
    assert "born_effective_charges" not in [term.name for term in idle.weights]
    message = "no training frame has the label `born_effective_charges`.*mace_smile_fit_screening"
    with pytest.raises(UserError, match=message):
        plan(tmp_path, frames(), *flags, "--becs_key=BEC")


@pytest.mark.parametrize("screening", ["uncoupled", "global"])
def test_born_charges_train_charges_and_dipoles_they_are_derivatives_of(tmp_path, screening):
    structures = without(frames(), "REF_dipole")
    flags = (f"--screening={screening}", "--electrostatics=none", "--dipole_head=local")
    if screening == "global":
        plan(tmp_path, structures, *flags)
        return
    with pytest.raises(UserError, match="nothing trains the charges"):
        plan(tmp_path, structures, *flags)


def test_charges_wait_to_be_asked_for(tmp_path):
    assert plan(tmp_path, frames(), "--charges_key=REF_charges").weights == (
        TermWeights("macro_dipole", 1.0, 1.0, "per_atom"),
        TermWeights("charges", 1.0, 1.0),
    )
    assert "not trained unless --charges_key" in plan(tmp_path, frames()).summary[-1]


def test_weights_of_both_stages(tmp_path):
    flags = ("--swa", "--macro_dipole_weight=3", "--total_charge_constraint=penalty")
    weights = plan(tmp_path, frames(), *flags, "--swa_total_charge_weight=5").weights
    assert weights == (
        TermWeights("macro_dipole", 3.0, 3.0, "per_atom"),
        TermWeights("total_charge", 1.0, 5.0),
    )


def test_summary_says_how_many_frames_carry_each_label(tmp_path):
    structures = frames()
    without(structures[:3], "REF_dipole")
    write(tmp_path, frames(2), "test.xyz")
    summary = plan(tmp_path, structures, f"--test_file={tmp_path}/test.xyz").summary
    assert summary[0].startswith(
        "Label REF_dipole (macro_dipole): 5 of 8 frames of the train file, 2 of 2 frames of the "
        "test file; weight 1"
    )


def test_dipoles_of_periodic_frames_are_not_trained(tmp_path):
    structures = frames()
    for atoms in structures:
        atoms.set_cell([9.0, 9.0, 9.0])
        atoms.pbc = True
    assert plan(tmp_path, structures).weights == ()
    with pytest.raises(UserError, match="counts in no training frame.*periodic along all axes"):
        plan(tmp_path, structures, "--macro_dipole_weight=2")
    with pytest.raises(UserError, match=r"train.xyz, frame 0 .*periodic axis xyz"):
        plan(tmp_path, structures, "--dipole_axes=xyz")


def test_isolated_atoms_give_energies_and_need_no_labels(tmp_path):
    structures = [isolated("H"), isolated("O", -2.0), *frames()]
    assert plan(tmp_path, structures, "--screening=uncoupled", "--E0s=None").summary


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--becs_key=BEC --screening=uncoupled",
            r"no training frame has the label `born_effective_charges` under the key 'BEC' "
            r"\(--becs_key\); the frames have REF_becs, REF_charges, REF_dipole, REF_energy.*"
            "--screening uncoupled wants them; mace_smile_train_screening gives",
        ),
        ("--dipole_key=mu", "`dipole` under the key 'mu'"),
        ("--charges_key=mulliken", "`charges` under the key 'mulliken'"),
        ("--total_charge_key=charge", "`total_charge` under the key 'charge'"),
        ("--given_charges_key=q --given_mask_key=m", "`given_charges` under the key 'q'"),
        ("--energy_key=E --forces_key=F --dipole_key=mu", "none of the labels E, F, mu in any"),
        ("--batch_size=7", "--batch_size is 7 but there are only 6 training frames"),
        ("--valid_fraction=1", "--valid_fraction is 1.0 but must lie between 0 and 1"),
        ("--E0s={8:-2.0}", "--E0s gives no isolated-atom energy for H; add it"),
        ("--E0s={1:0.0,8:0.0,26:0.0}", "isolated-atom energies for Fe, which no frame contains"),
        ("--E0s=some", "--E0s is 'some' but must be a dictionary"),
        ("--boundary=periodic", "--boundary periodic needs a structure that is periodic along"),
        ("--boundary=slab --slab_axis=2", "--boundary slab needs a structure that is periodic"),
        ("--forces_key=nope", "no training frame has the label `forces` under the key 'nope'"),
        ("--lr_params_factors={bad", "--lr_params_factors is '{bad' but must be a dictionary"),
        ('--lr_params_factors={"heads":1}', "has heads but only embedding_lr_factor"),
        ("--scheduler=Foo", "--scheduler is Foo but must be ExponentialLR or"),
        ("--atomic_numbers=[1]", "contain O, which --atomic_numbers .* does not list"),
        ("--atomic_numbers=H", "--atomic_numbers is 'H' but must be a list"),
    ],
)
def test_data_and_flags_that_do_not_fit_are_refused(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        plan(tmp_path, frames(), *flags.split())


def test_the_learning_rate_of_the_charge_heads_may_be_scaled(tmp_path):
    plan(tmp_path, frames(), '--lr_params_factors={"charge_heads_lr_factor":3.0}')


def test_label_wanted_by_a_head_must_be_there(tmp_path):
    structures = without(frames(), "REF_becs", "REF_dipole")
    with pytest.raises(UserError, match="no training frame has the label `born_effective_charges"):
        plan(tmp_path, structures, "--screening=uncoupled")
    with pytest.raises(UserError, match="no training frame has the label `dipole`"):
        plan(tmp_path, structures, "--macro_dipole_weight=2")
    with pytest.raises(UserError, match="nothing trains the charges"):
        plan(tmp_path, structures, "--electrostatics=none")


def test_names_that_ase_reserves_are_explained(tmp_path):
    structures = frames()
    for atoms in structures:
        atoms.info["dipole"] = atoms.info.pop("REF_dipole")
    with pytest.raises(UserError, match="result of a calculator.*rename it.*REF_dipole"):
        plan(tmp_path, structures, "--dipole_key=dipole")


def test_energies_and_forces_under_reserved_names_are_found_as_mace_finds_them(tmp_path):
    structures = frames()
    for atoms in structures:
        atoms.info["energy"] = atoms.info.pop("REF_energy")
        atoms.arrays["forces"] = atoms.arrays.pop("REF_forces")
    flags = ("--energy_key=energy", "--forces_key=forces", "--E0s=average")
    assert plan(tmp_path, without(structures, "REF_dipole"), *flags).weights == ()


def test_broken_label_is_reported_with_its_place(tmp_path):
    structures = frames()
    structures[3].arrays["REF_becs"] = np.full((6, 9), np.nan)
    with pytest.raises(UserError, match=r"train.xyz, frame 3 \(\w+\): .*\(key REF_becs\) holds 54"):
        plan(tmp_path, structures, "--screening=uncoupled")


def test_slab_without_a_gap_is_reported_with_its_place(tmp_path):
    structures = frames()
    structures[0].set_cell([9.0, 9.0, 5.0])
    structures[0].positions[:, 2] = np.linspace(0, 4.5, 6)
    structures[0].pbc = [True, True, False]
    with pytest.raises(UserError, match=r"train.xyz, frame 0 .*no vacuum gap"):
        plan(tmp_path, structures)


def test_stored_slab_with_a_gap_that_the_cutoff_spans_is_reported_with_its_place(tmp_path):
    structures = frames()
    for atoms in structures:
        height = np.ptp(atoms.positions[:, 2]) + 4.5
        atoms.set_cell([9.0, 9.0, height])
        atoms.pbc = True
    flags = ("--boundary=slab", "--slab_axis=2")
    assert plan(tmp_path, structures, *flags).labels.structure.minimum_gap == 4.0
    with pytest.raises(UserError, match=r"train.xyz, frame 0 .*--boundary slab: .*must exceed 5"):
        plan(tmp_path, structures, *flags, "--r_max=5.0")
    full = ("--coulomb_terms=full", "--coulomb_cutoff=6.0")
    with pytest.raises(UserError, match=r"train.xyz, frame 0 .*--boundary slab: .*must exceed 6"):
        plan(tmp_path, structures, *flags, *full)


def test_tilted_slab_axis_is_reported_with_its_place(tmp_path):
    structures = frames()
    structures[2].set_cell([[9.0, 0, 0], [0, 9.0, 0], [1.0, 0, 20.0]])
    structures[2].pbc = [True, True, False]
    with pytest.raises(UserError, match=r"frame 2 .*is not perpendicular.*atoms.cell\[2\] = \[0"):
        plan(tmp_path, structures)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--electrostatics_accuracy=1e-9 --electrostatics=p3m",
            "--electrostatics_accuracy 1e-09 cannot be reached with --electrostatics p3m.*use "
            "--electrostatics ewald",
        ),
        (
            "--electrostatics_accuracy=1e-4 --coulomb_terms=full --smearing=3",
            "and a cutoff of 4 A.*or a --coulomb_cutoff of at least",
        ),
        ("--electrostatics_accuracy=0.5", "--electrostatics_accuracy is 0.5 but must be positive"),
        ("--lr_wavelength=50", "--lr_wavelength 50 A leaves out 9.9e-01 of the Ewald sum"),
    ],
)
def test_sums_that_cannot_be_right_are_refused_before_training(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        plan(tmp_path, frames(), *flags.split())


def test_cutoff_of_a_foundation_model_counts(tmp_path):
    torch.save(make_model(), tmp_path / "foundation.model")  # its cutoff is 4 A
    flags = ("--coulomb_terms=full", "--electrostatics_accuracy=1e-4", "--smearing=1.2")
    foundation = f"--foundation_model={tmp_path}/foundation.model"
    plan(tmp_path, frames(), *flags, "--r_max=8.0")
    with pytest.raises(UserError, match="and a cutoff of 4 A"):
        plan(tmp_path, frames(), *flags, "--r_max=8.0", foundation)
    (tmp_path / "foundation.model").write_text("nothing")
    with pytest.raises(UserError, match="foundation.model' cannot be read as a model"):
        plan(tmp_path, frames(), foundation)


def charged_frames(boundary):
    structures = frames()
    for number, atoms in enumerate(structures):
        atoms.set_cell([9.0, 9.0, 30.0])
        atoms.pbc = [True, True, boundary == "periodic"]
        atoms.info["total_charge"] = 2.0 if number == 1 else float(number == 0)
    return structures


def test_net_charges_of_periodic_frames_are_told_in_the_log(tmp_path, caplog):
    found = plan(tmp_path, charged_frames("periodic"), "--smearing=1.2")
    volume = 9.0 * 9.0 * 30.0
    term = -np.pi * COULOMB_CONSTANT * 1.2**2 * 2.0**2 / volume
    images = -2.837297 * COULOMB_CONSTANT * 2.0**2 / (2 * volume ** (1 / 3))
    with caplog.at_level("WARNING"):
        found.log()
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.message.startswith("2 of 8 frames have a net charge in a cell that is periodic")
    assert f"in a frame the background term is up to {term:.3g} eV, and the" in record.message
    assert f"by up to about {images:.3g} eV; energies of cells of different" in record.message


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--total_charge_constraint=none",
        "--electrostatics=none --charges_key=REF_charges",
        "--boundary=open",
    ],
)
def test_net_charges_without_a_background_are_not_told(tmp_path, flags):
    boundary = "periodic" if flags else "slab"
    assert plan(tmp_path, charged_frames(boundary), *flags.split()).warnings == ()


def test_net_charges_can_be_refused(tmp_path):
    plan(tmp_path, charged_frames("slab"), "--net_charge=error")
    with pytest.raises(UserError, match=r"train.xyz, frame 0 .*the net charge is 1 e in a cell"):
        plan(tmp_path, charged_frames("periodic"), "--net_charge=error")


def test_isolated_atoms_need_no_boundary(tmp_path):
    structures = charged_frames("slab")
    flags = ("--boundary=slab", "--slab_axis=2", "--E0s=None")
    atoms = [isolated("H"), isolated("O", -2.0)]
    assert plan(tmp_path, [*atoms, *structures], *flags)
    with pytest.raises(UserError, match="frame 0 .*--boundary slab needs a structure"):
        plan(tmp_path, [*atoms, *structures], *flags, "--keep_isolated_atoms=True")


def test_given_charges_without_their_mask_are_refused(tmp_path):
    structures = frames()
    for atoms in structures:
        atoms.arrays["q"] = np.zeros(6)
        atoms.arrays["m"] = np.zeros(6)
    del structures[5].arrays["m"]
    with pytest.raises(UserError, match="frame 5 .*given charges and their mask"):
        plan(tmp_path, structures, "--given_charges_key=q", "--given_mask_key=m")


@pytest.mark.parametrize("role", ["valid", "test"])
def test_elements_that_are_not_trained_are_refused(tmp_path, role):
    strange = frames(2)
    strange[1].numbers[0] = 16
    write(tmp_path, strange, "other.xyz")
    with pytest.raises(UserError, match="frames contain S, which no training frame contains"):
        plan(tmp_path, frames(), f"--{role}_file={tmp_path}/other.xyz")


def test_average_energies_need_all_energies(tmp_path):
    structures = frames()
    without(structures[:2], "REF_energy")
    with pytest.raises(UserError, match="needs the energy of every training frame, but 2 have"):
        plan(tmp_path, structures, "--E0s=average")


def test_isolated_atom_energies_are_wanted(tmp_path):
    args = ("--E0s=average",)
    write(tmp_path, frames())
    parsed = parse(tmp_path, *args)
    parsed.E0s = None
    with pytest.raises(UserError, match="there are no energies of isolated atoms"):
        plan_training(parsed)
    with pytest.raises(UserError, match="IsolatedAtom gives no isolated-atom energy for O"):
        plan(tmp_path, [isolated("H"), *frames()], *args)


def test_unreadable_file_is_reported(tmp_path):
    (tmp_path / "train.xyz").write_text("3\nnot a structure\nH 0 0\n")
    with pytest.raises(UserError, match="cannot be read as structures"):
        plan_training(parse(tmp_path))


def test_one_frame_is_too_few(tmp_path):
    with pytest.raises(UserError, match="1 training frames, too few to set one aside"):
        plan(tmp_path, [labelled(frames(1)[0])])
