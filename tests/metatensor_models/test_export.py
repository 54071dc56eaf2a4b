"""What an exported file declares, and that it gives what the model in memory gives."""

import json

import numpy as np
import pytest
import torch
from metatomic.torch import (
    ModelEvaluationOptions,
    ModelOutput,
    load_atomistic_model,
    unit_conversion_factor,
)

import metatensor_models.export as export
from exported import FIELDS, LOCAL, build, forces, run, to_system, write_model
from helpers import STRUCTURES, evaluate, make_backbone, make_model
from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.evaluator import Evaluator
from metatensor_models.options import ExportOptions
from metatensor_models.outputs import ELECTROSTATIC_OUTPUTS
from metatensor_models.trial import SelfCheckError

CHI = 0.4


@pytest.fixture(scope="module")
def model() -> SmileMACE:
    torch.set_default_dtype(torch.float64)
    return make_model(susceptibility=CHI)


@pytest.fixture(scope="module")
def exported_file(model, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("exported"), model)


@pytest.fixture(scope="module")
def loaded(exported_file):
    return load_atomistic_model(exported_file)


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_exported_file_gives_what_the_model_gives(model, loaded, exported_file, boundary):
    atoms = STRUCTURES[boundary]()
    reference = evaluate(model, atoms, compute_stress=True)
    system = to_system(loaded, atoms)
    for name in (quantities.CHARGES, quantities.BORN_EFFECTIVE_CHARGES):
        output = quantities.BY_NAME[name].metatomic
        values = run(loaded, [system], [output], "atom")[output]
        torch.testing.assert_close(values, reference[name], rtol=1e-10, atol=1e-10)
    for name in (quantities.MACRO_DIPOLE, quantities.RESPONSE_DIPOLE):
        output = quantities.BY_NAME[name].metatomic
        values = run(loaded, [system], [output])[output]
        torch.testing.assert_close(values, reference[name], rtol=1e-10, atol=1e-10)
    result = Evaluator(exported_file, device="cpu").evaluate(
        atoms.numbers, atoms.positions, np.array(atoms.cell), atoms.pbc
    )
    assert result.energy == pytest.approx(reference["energy"].item(), rel=1e-12)
    np.testing.assert_allclose(result.forces, reference["forces"].detach(), atol=1e-10)
    if boundary == "periodic":
        stress = -result.virial / atoms.cell.volume
        np.testing.assert_allclose(stress, reference["stress"][0].detach(), atol=1e-12)


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_float32_agrees_to_1e5_relative(model, tmp_path, boundary):
    path = export.export_model(model, tmp_path / "single.pt", ExportOptions(), dtype="float32")
    loaded = load_atomistic_model(path)
    assert loaded.capabilities().dtype == "float32"
    atoms = STRUCTURES[boundary]()
    reference = evaluate(model, atoms)["forces"].detach().numpy()
    deviation = np.abs(forces(loaded, atoms) - reference).max()
    assert deviation < 1e-5 * np.abs(reference).max()
    assert model.r_max.dtype == torch.float64


def test_energies_of_atoms_add_up(loaded):
    system = to_system(loaded, STRUCTURES["periodic"]())
    for output in ("energy", "energy/z05"):
        total = run(loaded, [system], [output])[output]
        atoms = run(loaded, [system], [output], "atom")[output]
        assert atoms.shape == (len(system),)
        torch.testing.assert_close(atoms.sum().reshape(1), total)


def test_several_structures_in_one_call_give_what_each_gives_alone(loaded):
    systems = [to_system(loaded, create()) for create in STRUCTURES.values()]
    names = ["energy", "energy/tilted", "mace_smile::macro_dipole"]
    together = run(loaded, systems, names)
    for number, system in enumerate(systems):
        alone = run(loaded, [system], names)
        for name in names:
            torch.testing.assert_close(together[name][number], alone[name][0])


def test_capabilities_name_units_and_range(model, loaded):
    capabilities = loaded.capabilities()
    declared = capabilities.outputs
    for name in ("energy", "charge", *(f"energy/{field}" for field in FIELDS)):
        assert name in declared
    for name in (
        quantities.CHARGES,
        quantities.MACRO_DIPOLE,
        quantities.RESPONSE_DIPOLE,
        quantities.BORN_EFFECTIVE_CHARGES,
        *ELECTROSTATIC_OUTPUTS,
    ):
        quantity = quantities.BY_NAME[name]
        output = declared[quantity.metatomic]
        assert unit_conversion_factor(output.unit, quantity.unit) == 1.0
        assert output.sample_kind == ("atom" if quantity.per_atom else "system")
        assert output.description == quantity.meaning
    assert capabilities.length_unit == "angstrom"
    assert capabilities.interaction_range == float("inf")
    assert list(capabilities.atomic_types) == model.atomic_numbers.tolist()


def test_components_of_born_charges_say_which_is_the_field(loaded):
    system = to_system(loaded, STRUCTURES["open"]())
    name = "mace_smile::born_effective_charges"
    options = ModelEvaluationOptions(outputs={name: ModelOutput(sample_kind="atom")})
    block = loaded([system], options, check_consistency=True)[name].block()
    assert [labels.names for labels in block.components] == [["field"], ["displacement"]]


@pytest.mark.parametrize(
    ("options", "interaction_range"),
    [
        (LOCAL, 8.0),
        ({"charge_head": "none"}, 8.0),
        ({**LOCAL, "total_charge_constraint": "exact"}, float("inf")),
        ({**LOCAL, "electrostatics": "ewald"}, float("inf")),
    ],
)
def test_interaction_range_is_finite_only_without_long_range(options, interaction_range):
    assert export.declared_range(make_model(**options), ExportOptions()) == interaction_range


def test_metadata_tells_what_was_stored(model, loaded):
    metadata = loaded.metadata()
    extra = metadata.extra
    assert extra["format_version"] == str(model.format_version)
    assert float(extra["susceptibility"]) == CHI
    assert extra["screening"] == "uncoupled"
    assert extra["boundary"] == "auto"
    assert extra["electrostatics"] == "auto"
    assert float(extra["smearing"]) == float(extra["lr_wavelength"]) == 1.0
    assert json.loads(extra["fields"]) == {name: list(field) for name, field in FIELDS.items()}
    assert "F0 + Z^T E" in metadata.description
    units = json.loads(extra["units"])
    assert units["mace_smile::macro_dipole"] == "e*A"
    assert units["energy/z05"] == "eV"
    assert extra["training_labels"] == "unknown"
    assert any("MACE" in reference for reference in metadata.references["architecture"])


def test_model_without_charges_exports_no_charges():
    exported = build(make_model(charge_head="none"))
    outputs = exported.capabilities().outputs
    assert {name.split("/")[0] for name in outputs} == {
        "energy",
        "mace_smile::born_effective_charges",
    }
    extra = exported.metadata().extra
    assert extra["electrostatics"] == "none"
    assert "smearing" not in extra


def test_model_of_several_heads_needs_a_choice():
    backbone = make_backbone()
    backbone.heads = ["first", "second"]
    two_heads = SmileMACE(backbone, SmileOptions())
    with pytest.raises(UserError, match="the model has the heads first, second; name one"):
        export.check_request(two_heads, ExportOptions())
    assert ExportOptions(head="second").head_index(two_heads.heads) == 1


def test_existing_output_is_kept_unless_overwrite(model, exported_file):
    before = exported_file.read_bytes()
    with pytest.raises(UserError, match="exists; choose another -o, or add --overwrite"):
        export.export_model(model, exported_file, ExportOptions())
    assert exported_file.read_bytes() == before
    export.export_model(model, exported_file, ExportOptions(fields=FIELDS), overwrite=True)
    assert [file.name for file in exported_file.parent.iterdir()] == [exported_file.name]


def test_a_file_that_fails_the_self_check_is_not_written(model, tmp_path, monkeypatch):
    other = make_model("8x0e")
    eager = export.eager_atomistic_model(other, ExportOptions())
    monkeypatch.setattr(export, "eager_atomistic_model", lambda *_: eager)
    with pytest.raises(SelfCheckError, match="nothing was written"):
        export.export_model(model, tmp_path / "wrong.pt", ExportOptions())
    assert list(tmp_path.iterdir()) == []


def test_export_leaves_the_model_as_it_is(model):
    before = evaluate(model, STRUCTURES["slab"]())["forces"]
    build(model, boundary="slab")
    assert model.boundary == "auto"
    assert torch.equal(before, evaluate(model, STRUCTURES["slab"]())["forces"])
