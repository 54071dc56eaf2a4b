"""--becs_order: files with the other index first train the same, and a wrong order is refused."""

import numpy as np
import pytest
import torch
from mace.data import AtomicData, config_from_atoms
from mace.tools import AtomicNumberTable

from born_outputs import bent_molecule, born_charges, dipole
from helpers import ELEMENTS
from mace_smile.errors import UserError
from mace_smile.io.born_order import displacement_first
from mace_smile.model.files import load_model
from mace_smile.training.labels import with_complete_labels
from mace_smile.training.plan import plan_training
from mace_smile.training.survey import key_specification
from training_data import log_of, parse, run, write

FIELD, DISPLACEMENT = "field_first", "displacement_first"


def molecules(order=FIELD, number=4, seed=0, periodic=False):
    """Molecules with tensors that are not symmetric; periodic ones without a dipole."""
    generator = np.random.default_rng(seed)
    structures = []
    for _ in range(number):
        atoms = bent_molecule()
        atoms.positions += 0.05 * generator.normal(size=(3, 3))
        tensors = born_charges(atoms.positions)
        if order == DISPLACEMENT:
            tensors = displacement_first(tensors)
        atoms.arrays["REF_becs"] = tensors.reshape(-1, 9)
        atoms.info["REF_energy"] = -4.0
        atoms.arrays["REF_forces"] = 0.1 * generator.normal(size=(3, 3))
        if periodic:
            atoms.cell, atoms.pbc = [9.0, 9.0, 9.0], True
        else:
            atoms.info["REF_dipole"] = dipole(atoms.positions)
        structures.append(atoms)
    return structures


def plan(folder, structures, *flags):
    write(folder, structures)
    return plan_training(parse(folder, "--screening=uncoupled", *flags))


def exchanged(folder, structures, *flags):
    return plan(folder, structures, *flags).labels.displacement_first_heads


def test_transposed_files_train_the_same_model(tmp_path):
    models = []
    for order in (FIELD, DISPLACEMENT):
        folder = tmp_path / order
        folder.mkdir()
        write(folder, molecules(order))
        write(folder, molecules(order, 2, seed=1), "valid.xyz")
        write(folder, molecules(order, 2, seed=2), "test.xyz")
        files = [f"--{role}_file={folder}/{role}.xyz" for role in ("valid", "test")]
        flags = ["--screening=uncoupled", f"--becs_order={order}", *files]
        run(folder, *flags, "--max_num_epochs=1")
        models.append(load_model(folder / "water.model").state_dict())
        tables = [line for line in log_of(folder).splitlines() if "| valid" in line]
        models[-1]["tables"] = [line.split("INFO: ")[-1] for line in tables]
    assert "BornEffectiveCharges(weight=1.000, displacement_first)" in log_of(folder)
    for name, value in models[0].items():
        same = value == models[1][name] if name == "tables" else torch.equal(value, models[1][name])
        assert same, name


@pytest.mark.parametrize("flags", [(), (f"--becs_order={FIELD}",)])
def test_a_wrong_order_is_refused_with_evidence_and_remedy(tmp_path, flags):
    message = (
        r"train.xyz: .*'REF_becs' is contradictory: .--becs_order. is field_first, the data say "
        r"displacement_first \(rotational sum rule.*residual 0.* e A.*\); give .--becs_order displ"
    )
    with pytest.raises(UserError, match=message):
        plan(tmp_path, molecules(DISPLACEMENT), *flags)
    with pytest.raises(UserError, match="is displacement_first, the data say field_first"):
        plan(tmp_path, molecules(FIELD), f"--becs_order={DISPLACEMENT}")


def test_a_wrong_test_file_is_refused(tmp_path):
    write(tmp_path, molecules(DISPLACEMENT), "test.xyz")
    with pytest.raises(UserError, match=r"test.xyz: .* is contradictory"):
        plan(tmp_path, molecules(), f"--test_file={tmp_path}/test.xyz")


def test_auto_asks_the_data_and_says_when_they_do_not_tell(tmp_path):
    assert exchanged(tmp_path, molecules(DISPLACEMENT), "--becs_order=auto") == {"Default"}
    assert exchanged(tmp_path, molecules(FIELD), "--becs_order=auto") == set()
    with pytest.raises(UserError, match="cannot be told: there is no open frame"):
        plan(tmp_path, molecules(periodic=True), "--becs_order=auto")


@pytest.mark.parametrize("order", [FIELD, DISPLACEMENT])
def test_what_data_do_not_tell_is_as_the_flag_says(tmp_path, order):
    silent = molecules(periodic=True)
    assert exchanged(tmp_path, silent, f"--becs_order={order}") == (
        {"Default"} if order == DISPLACEMENT else set()
    )


def test_zero_weights_and_headers_count(tmp_path):
    mixed = [*molecules(DISPLACEMENT), *molecules()]
    for atoms in mixed[:4]:
        atoms.info["config_born_effective_charges_weight"] = 0.0
    assert exchanged(tmp_path, mixed) == set()
    known = molecules(periodic=True)
    known[0].info["becs_order"] = FIELD
    with pytest.raises(UserError, match="the header of a frame says field_first"):
        plan(tmp_path, known, f"--becs_order={DISPLACEMENT}")


def test_idle_labels_may_have_any_order_and_missing_ones_are_missed(tmp_path):
    write(tmp_path, molecules(DISPLACEMENT))
    flags = ["--screening=global", "--screening_value=1.3", "--born_effective_charges_weight=0"]
    assert plan_training(parse(tmp_path, *flags)).labels.ignores_born_effective_charges
    structures = molecules()
    for atoms in structures:
        del atoms.arrays["REF_becs"]
    write(tmp_path, structures)
    with pytest.raises(UserError, match="no training frame has the label `born_effective_charges`"):
        plan_training(parse(tmp_path, *flags[:2], f"--becs_order={FIELD}"))


def test_heads_have_orders_and_keys_of_their_own(tmp_path):
    files = {"rows": molecules(FIELD), "columns": molecules(DISPLACEMENT)}
    heads = {}
    for head, structures in files.items():
        for atoms in structures:
            atoms.arrays[f"z_{head}"] = atoms.arrays.pop("REF_becs")
        path = write(tmp_path, structures, f"{head}.xyz")
        heads[head] = {"train_file": str(path), "becs_key": f"z_{head}"}
    heads["columns"]["becs_order"] = DISPLACEMENT
    args = parse(tmp_path, "--screening=uncoupled", f"--heads={heads}")
    labels = plan_training(args).labels
    assert labels.displacement_first_heads == {"columns"}
    from_config = with_complete_labels(AtomicData.from_config, labels)
    for head, structures in files.items():
        keys = key_specification(args, head)
        config = config_from_atoms(structures[0], keys, head_name=head)
        data = from_config(config, AtomicNumberTable(ELEMENTS), 4.0, heads=list(files))
        np.testing.assert_allclose(
            data.born_effective_charges, born_charges(structures[0].positions), atol=1e-7
        )
    wrong = {**heads, "rows": {**heads["rows"], "becs_key": "z"}}
    with pytest.raises(UserError, match=r"head 'rows': no training frame .* 'z' \('becs_key' in"):
        plan_training(parse(tmp_path, "--screening=uncoupled", f"--heads={wrong}"))
    heads["columns"]["becs_order"] = FIELD
    with pytest.raises(UserError, match=r"columns.xyz: .* is contradictory"):
        plan_training(parse(tmp_path, "--screening=uncoupled", f"--heads={heads}"))


def test_a_sample_of_many_frames_is_told(tmp_path):
    many = molecules(number=401)
    assert "was tested on 400 frames of" in plan(tmp_path, many).summary[-1]


def in_headers(atoms):
    atoms.info["REF_becs"] = atoms.arrays.pop("REF_becs").ravel()


def under_a_reserved_name(atoms):
    atoms.arrays["born_effective_charges"] = atoms.arrays.pop("REF_becs")


def as_words(atoms):
    atoms.arrays["REF_becs"] = np.full((len(atoms), 9), "x")


def under_another_key(atoms):
    atoms.arrays["bec"] = atoms.arrays.pop("REF_becs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_headers, "'REF_becs' is an entry of the headers there, but must be columns"),
        (under_a_reserved_name, "rename it, for example to REF_born_effective_charges"),
        (as_words, r"\(key REF_becs\) is .*'x'.*, ... but must hold numbers"),
        (under_another_key, "the frames have REF_dipole.*bec.* Give the key that has it"),
    ],
)
def test_labels_in_a_wrong_place_say_what_to_do(tmp_path, change, message):
    structures = molecules()
    for atoms in structures:
        change(atoms)
    with pytest.raises(UserError, match=message):
        plan(tmp_path, structures)


def test_labels_that_can_hardly_be_in_e_are_told(tmp_path):
    assert plan(tmp_path, molecules()).warnings == ()
    structures = molecules()
    for atoms in structures:
        atoms.arrays["REF_becs"] *= 1.6e-19
    assert "they must be in e" in plan(tmp_path, structures).warnings[-1]
