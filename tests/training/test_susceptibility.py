"""Learned susceptibilities, atomic dipoles and branches of dipoles in training."""

import re

import numpy as np
import pytest
import torch
from mace.data import AtomicData, config_from_atoms
from mace.tools import AtomicNumberTable, torch_geometric

from helpers import ELEMENTS, GIVEN, bulk_water, make_model, open_water, slab_water
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.structures import input_keys
from mace_smile.training.labels import LabelSettings, with_complete_labels
from mace_smile.training.losses import MacroDipole
from mace_smile.training.plan import plan_training
from training_data import frames, labelled, log_of, parse, run, write

CHI = 0.41
GIVEN_FLAGS = ("--given_charges_key=electrode_charge", "--given_mask_key=electrode")
NEON = "--E0s={1:-1.0,8:-2.0,10:0.0}"


def slabs(number, chi=CHI, chi_given=None):
    """Slabs whose dipole is that of fixed charges of the elements, and of charged walls."""
    structures = []
    for seed in range(number):
        atoms = slab_water()
        atoms.positions[:-2] += 0.1 * np.random.default_rng(seed).normal(size=(24, 3))
        atoms.arrays["electrode_charge"] *= seed - 2
        atoms = labelled_slab(atoms, chi, chi if chi_given is None else chi_given)
        structures.append(atoms)
    return structures


def labelled_slab(atoms, chi, chi_given):
    charges = np.array([{8: -0.8, 1: 0.4, 10: 0.0}[z] for z in atoms.numbers])
    mu, given = (q @ atoms.positions[:, 2] for q in (charges, atoms.arrays["electrode_charge"]))
    atoms.info["REF_dipole"] = np.array([0.0, 0.0, mu / (1 + chi) + given / (1 + chi_given)])
    atoms.info["REF_energy"] = -30.0
    atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    return atoms


def plan(tmp_path, structures, *flags):
    write(tmp_path, structures)
    return plan_training(parse(tmp_path, *flags))


@pytest.mark.parametrize("chi_given", [None, 0.2])
def test_learned_susceptibilities_move_to_those_of_the_data(chi_given):
    """Heads alone, on fixed node features, from chi = 0."""
    options = {"learn_susceptibility": True, "learn_given_susceptibility": chi_given is not None}
    model = make_model("4x0e", 1, **GIVEN, **options, electrostatics="none", screening="none")
    keys = input_keys(model.options)
    keys.update(info_keys={"dipole": "REF_dipole"})
    from_config = with_complete_labels(AtomicData.from_config, LabelSettings(given_charges=True))
    table = AtomicNumberTable(ELEMENTS)
    structures = slabs(6, chi_given=chi_given)
    data = [from_config(config_from_atoms(s, keys), z_table=table, cutoff=4.0) for s in structures]
    batch = torch_geometric.Batch.from_data_list(data)
    features = model(batch.to_dict(), compute_force=False)["node_feats"].detach()
    term, cells = MacroDipole(1.0), batch.cell.view(-1, 3, 3)
    optimizer = torch.optim.Adam(model.charge_heads.parameters(), lr=0.02)
    for _ in range(800):
        optimizer.zero_grad()
        term(batch, model.polarize(features, batch.to_dict(), batch.positions, cells)).backward()
        optimizer.step()
    # With one chi it is that of the given charges, whose dipole is known.
    own = CHI if chi_given is None else chi_given
    assert model.given_susceptibility_value() == pytest.approx(own, abs=0.02)


def test_a_run_learns_and_logs_the_susceptibility_and_continues_with_it(tmp_path):
    write(tmp_path, slabs(6))
    flags = ("--susceptibility=learned", *GIVEN_FLAGS, "--valid_fraction=0.34", NEON)
    common = (*flags, "--electrostatics=none", "--lr=0.05", "--ema", "--dipole_head=local")
    run(tmp_path, *common, "--macro_dipole_weight=100", "--max_num_epochs=2")
    logged = [float(value) for value in re.findall(r", susceptibility=(\S+)", log_of(tmp_path))]
    assert logged[0] == 0.0
    assert len(logged) == 3
    learned = load_model(tmp_path / "water.model").susceptibility_value()
    assert abs(learned) > 1e-3
    assert learned == pytest.approx(min(logged, key=lambda value: abs(value - learned)), abs=1e-4)
    restart = torch.load(
        tmp_path / "checkpoints" / "water_run-1_restart.pt", map_location="cpu", weights_only=False
    )
    assert "charge_heads.susceptibility.log_screening" in restart["model"]
    group = next(g for g in restart["optimizer"]["param_groups"] if g["name"] == "charge_heads")
    assert group["weight_decay"] == 0.0
    run(tmp_path, *common, "--macro_dipole_weight=100", "--max_num_epochs=3", "--restart_latest")
    assert len(re.findall(r", susceptibility=", log_of(tmp_path))) > 3
    fixed = [flag for flag in common if "learned" not in flag]
    with pytest.raises(UserError, match="another model: --susceptibility was learned"):
        run(tmp_path, *fixed, "--max_num_epochs=3", "--restart_latest")


def test_clusters_slabs_and_bulk_train_dipoles_together(tmp_path):
    """Labels along z in slabs, along all axes in bulk (as polarizations) and in clusters."""
    bulk = bulk_water()
    bulk.info.update(REF_energy=-30.0, REF_polarization=np.array([0.01, 0.0, 0.0]))
    bulk.arrays["REF_forces"] = np.zeros((len(bulk), 3))
    structures = [*slabs(2), labelled(open_water()), bulk, *frames(2)]
    write(tmp_path, structures)
    write(tmp_path, structures, "valid.xyz")
    flags = (
        "--charge_head=none --dipole_head=local --dipole_elements=O --susceptibility=learned "
        "--dipole_quantum=2 --polarization_key=REF_polarization --max_num_epochs=2 --batch_size=3"
    )
    run(tmp_path, *flags.split(), *GIVEN_FLAGS, NEON, f"--valid_file={tmp_path}/valid.xyz")
    assert "MacroDipole(weight=1.000, per_atom, modulo 2 e)" in log_of(tmp_path)
    assert "Label REF_dipole (macro_dipole): 6 of 6 frames of the train file" in log_of(tmp_path)
    assert load_model(tmp_path / "water.model").options.dipole_elements == ("O",)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--susceptibility=learned", "--susceptibility learned: nothing trains it, since no train"),
        ("--dipole_quantum=1", "--dipole_quantum 1 has no effect here: no training frame has a"),
        ("--dipole_head=local --dipole_elements=Fe", "names Fe, which no training frame contains"),
        ("--macro_dipole_norm=per_area", "train.xyz, frame 0 .*area of a slab, but the structure"),
        ("--dipole_quantum=1 --polarization_key=P", "`polarization` under the key 'P'"),
    ],
)
def test_flags_that_the_frames_contradict_are_refused(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        plan(tmp_path, frames(), *flags.split())


def test_heads_without_labels_are_refused(tmp_path):
    structures = frames()
    for atoms in structures:
        del atoms.info["REF_dipole"]
    with pytest.raises(UserError, match="nothing trains the atomic dipoles"):
        plan(tmp_path, structures, "--dipole_head=local")
    with pytest.raises(UserError, match="--macro_dipole_norm total has no effect here"):
        plan(tmp_path, structures, "--macro_dipole_norm=total")


def test_norm_and_given_susceptibility_reach_the_plan(tmp_path):
    flags = ("--macro_dipole_norm=per_area", "--given_susceptibility=learned", *GIVEN_FLAGS, NEON)
    found = plan(tmp_path, slabs(4), *flags)
    assert [repr(term) for term in found.terms()] == ["MacroDipole(weight=1.000, per_area)"]
    assert found.options.learn_given_susceptibility
    uncharged = slabs(4)
    for atoms in uncharged:
        del atoms.arrays["electrode"], atoms.arrays["electrode_charge"]
    with pytest.raises(UserError, match="has the label `given_charges`"):
        plan(tmp_path, uncharged, *flags)


def _with_cluster(structures):
    return [*structures, labelled(open_water())]


def _charged(structures):
    for atoms in structures:
        atoms.info["total_charge"] = 1.0
    return structures


def _with_uncharged_walls(structures):
    for number, atoms in enumerate(structures):
        atoms.arrays["electrode_charge"][:] = 0.0
        structures[number] = labelled_slab(atoms, CHI, CHI)
    return structures


@pytest.mark.parametrize(
    ("change", "flags", "knows_scale"),
    [
        (list, "", True),
        (_with_uncharged_walls, "", False),
        (list, "--given_susceptibility=0.41", False),
        (list, "--given_susceptibility=learned", False),
        (list, "--given_susceptibility=0.41 --electrostatics=auto", True),
        (_with_cluster, "--given_susceptibility=0.41", True),
        (_charged, "--given_susceptibility=0.41", True),
        (_charged, "--given_susceptibility=0.41 --total_charge_constraint=none", False),
    ],
)
def test_susceptibility_that_no_label_tells_is_not_learned(tmp_path, change, flags, knows_scale):
    """Scaling all learned charges with 1 + chi leaves the dipoles of neutral films as they are."""
    common = ("--electrostatics=none", *flags.split(), *GIVEN_FLAGS, NEON)
    structures = change(slabs(4))
    assert plan(tmp_path, structures, *common).knows_scale == knows_scale
    if knows_scale:
        plan(tmp_path, structures, "--susceptibility=learned", *common)
        return
    with pytest.raises(UserError, match="--susceptibility learned: nothing tells chi, since"):
        plan(tmp_path, structures, "--susceptibility=learned", *common)


def test_total_charges_that_given_charges_contradict_are_refused(tmp_path):
    structures = slabs(4)
    structures[2].arrays["electrode"][:] = 1
    structures[2].info["total_charge"] = 1.0
    with pytest.raises(
        UserError, match=r"train.xyz, frame 2 .*but the total charge is 1 e, and no"
    ):
        plan(tmp_path, structures, *GIVEN_FLAGS, NEON)
