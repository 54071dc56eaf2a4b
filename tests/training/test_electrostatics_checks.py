"""Parameters of the Coulomb sum that are told of, or refused, before training."""

import re

import pytest

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.electrostatics_checks import check_electrostatics


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"electrostatics": "none", "lr_wavelength": 50.0},
        {"coulomb_terms": "full"},
        {"electrostatics": "pme"},
        {"electrostatics": "p3m"},
        {"electrostatics_accuracy": 1e-2, "electrostatics": "ewald"},
        {"lr_wavelength": 1.0, "mesh_spacing": 0.3},
        {"smearing": 1.2},
        {"coulomb_terms": "full", "smearing": 1.0, "coulomb_cutoff": 6.0},
        {"mesh_spacing": 9.0, "electrostatics": "ewald"},
        {"lr_wavelength": 9.0, "electrostatics": "p3m"},
        {"lr_wavelength": 9.0, "boundary": "open"},
        {"coulomb_terms": "full", "smearing": 1.4, "boundary": "open"},
        {"electrostatics_accuracy": 6.2e-7},
        {"electrostatics_accuracy": 3.1e-7, "electrostatics": "pme"},
    ],
)
def test_defaults_and_sound_parameters_are_no_news(options):
    assert check_electrostatics(SmileOptions(**options), 5.0) == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_wavelength": 2.0}, "--lr_wavelength 2 A leaves out 7.2e-03 of the Ewald sum"),
        ({"mesh_spacing": 1.0}, "--mesh_spacing 1 A leaves out .*; use at most 0.333 A, or leav"),
        ({"mesh_spacing": 1.0, "electrostatics": "p3m"}, "use at most 0.25 A, or leave it out"),
        ({"mesh_spacing": 0.8, "electrostatics": "pme"}, "use at most 0.167 A, or leave it out"),
        ({"smearing": 2.0}, "--smearing 2 A is wide: .* 5 A, .* leaves out 1.2e-02 of the Coul"),
        ({"smearing": 50.0}, "--smearing 50 A is wide: .* leaves out 9.2e-01 of the Coulomb"),
        ({"smearing": 2.0, "electrostatics_accuracy": 1e-4}, "--smearing 2 A is wide"),
        ({"smearing": 2.0, "boundary": "open"}, "--smearing 2 A is wide"),
        ({"coulomb_terms": "full", "smearing": 1.4}, "--smearing 1.4 A leaves out .*at most 0.909"),
    ],
)
def test_notable_parts_that_are_left_out_are_told(options, message):
    (sentence,) = check_electrostatics(SmileOptions(**options), 5.0)
    assert re.search(message, sentence)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_wavelength": 50.0}, "9.9e-01 of the Ewald sum.*use at most 1 A, or leave it out"),
        ({"mesh_spacing": 2.0}, "--mesh_spacing 2 A leaves out .* of the forces"),
        ({"electrostatics": "pme", "mesh_spacing": 1.5}, "--mesh_spacing 1.5 A leaves out"),
        ({"coulomb_terms": "full", "smearing": 5.0}, "a larger --coulomb_cutoff, or leave it out"),
        ({"electrostatics_accuracy": 2.0}, "--electrostatics_accuracy is 2.0 but must be positive"),
        (
            {"electrostatics_accuracy": 1e-7},
            r"--electrostatics auto \(P3M for large structures\).*use --electrostatics ewald, or "
            "an accuracy of at least 6.2e-07",
        ),
        (
            {"electrostatics_accuracy": 1e-7, "electrostatics": "pme"},
            "with --electrostatics pme, whose finest mesh .* accuracy of at least 3.1e-07",
        ),
        (
            {"electrostatics_accuracy": 1e-5, "lr_wavelength": 2.0},
            "--electrostatics_accuracy 1e-05 cannot be reached with --lr_wavelength 2 A and "
            "--smearing 1 A.*use a wavelength of at most",
        ),
        (
            {"electrostatics_accuracy": 1e-5, "mesh_spacing": 0.9},
            "cannot be reached with --mesh_spacing 0.9 A.*use a spacing of at most",
        ),
        (
            {"electrostatics_accuracy": 1e-5, "coulomb_terms": "full", "smearing": 2.0},
            "cannot be reached with --smearing 2 A and a cutoff of 5 A.*--coulomb_cutoff of at lea",
        ),
    ],
)
def test_sums_that_leave_out_too_much_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        check_electrostatics(SmileOptions(**options), 5.0)


def test_cutoff_of_the_sum_comes_before_that_of_the_backbone():
    options = {"coulomb_terms": "full", "smearing": 1.4}
    assert check_electrostatics(SmileOptions(**options), 5.0)
    assert not check_electrostatics(SmileOptions(**options, coulomb_cutoff=8.0), 5.0)
    assert not check_electrostatics(SmileOptions(**options), 8.0)
