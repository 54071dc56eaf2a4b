import dataclasses
import json
import subprocess
import sys

import pytest

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.argument_checks import check_mace_flags
from mace_smile.training.arguments import options_from_args
from mace_smile.training.flags import FLAGS
from mace_smile.training.input_files import files_by_head
from mace_smile.training.mace_parser import build_parser
from training_data import parse


def options(tmp_path, *flags):
    return options_from_args(parse(tmp_path, *flags))


def test_without_flags_the_options_are_the_defaults_of_the_model(tmp_path):
    assert options(tmp_path) == SmileOptions()


def test_flags_reach_the_options(tmp_path):
    flags = [
        "--charge_head=local",
        "--total_charge_constraint=penalty",
        "--electrostatics=ewald",
        "--coulomb_terms=long_range",
        "--smearing=0.8",
        "--lr_wavelength=0.4",
        "--boundary=slab",
        "--slab_axis=1",
        "--screening=uncoupled",
        "--screening_value=1.1",
        "--susceptibility=0.4",
    ]
    expected = SmileOptions(
        electrostatics="ewald",
        total_charge_constraint="penalty",
        smearing=0.8,
        lr_wavelength=0.4,
        boundary="slab",
        slab_axis=1,
        screening="uncoupled",
        screening_value=1.1,
        susceptibility=0.4,
    )
    assert options(tmp_path, *flags) == expected


def test_flags_of_the_electrostatics_reach_the_options(tmp_path):
    flags = [
        "--electrostatics=p3m",
        "--coulomb_terms=full",
        "--smearing=0.9",
        "--mesh_spacing=0.3",
        "--electrostatics_accuracy=1e-3",
        "--coulomb_cutoff=7",
        "--long_range_readout=learned",
        "--long_range_channels=3",
        "--net_charge=error",
    ]
    expected = SmileOptions(
        electrostatics="p3m",
        coulomb_terms="full",
        smearing=0.9,
        mesh_spacing=0.3,
        electrostatics_accuracy=1e-3,
        coulomb_cutoff=7.0,
        long_range_readout="learned",
        long_range_channels=3,
        net_charge="error",
    )
    assert options(tmp_path, *flags) == expected


@pytest.mark.parametrize("method", ["auto", "ewald", "pme", "p3m", "none"])
def test_methods_reach_the_options(tmp_path, method):
    assert options(tmp_path, f"--electrostatics={method}").electrostatics == method


def test_susceptibilities_are_numbers_or_learned(tmp_path):
    given = ("--given_charges_key=q", "--given_mask_key=m")
    both = options(tmp_path, "--susceptibility=learned", "--given_susceptibility=learned", *given)
    assert (both.susceptibility, both.learn_susceptibility) == (0.0, True)
    assert (both.given_susceptibility, both.learn_given_susceptibility) == (None, True)
    fixed = options(tmp_path, "--susceptibility=0.4", "--given_susceptibility=0.3", *given)
    assert (fixed.susceptibility, fixed.learn_susceptibility) == (0.4, False)
    assert (fixed.given_susceptibility, fixed.learn_given_susceptibility) == (0.3, False)


def test_dipole_heads_reach_the_options(tmp_path):
    found = options(
        tmp_path, "--charge_head=none", "--dipole_head=local", "--dipole_elements=O, Mg"
    )
    assert (found.has_charges, found.has_dipole, found.has_electrostatics) == (False, True, False)
    assert found.dipole_elements == ("O", "Mg")
    assert found.dipole_numbers == [8, 12]


@pytest.mark.parametrize(("text", "value"), [("True", True), ("true", True), ("False", False)])
def test_dipoles_in_energy_is_true_or_false(tmp_path, text, value):
    found = options(tmp_path, "--dipole_head=local", f"--dipoles_in_energy={text}")
    assert found.dipoles_in_energy is value
    assert options(tmp_path, "--dipoles_in_energy=False") == SmileOptions()


def test_a_switch_that_is_neither_is_refused(tmp_path):
    with pytest.raises(UserError, match="dipoles_in_energy: 'maybe' is neither True nor False"):
        options(tmp_path, "--dipoles_in_energy=maybe")


def test_screening_value_auto_is_left_to_the_model(tmp_path):
    assert options(tmp_path, "--screening_value=auto").screening_value is None


def test_yaml_files_know_our_flags(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("name: slab\nscreening: uncoupled\nsusceptibility: 0.4\nema: True\n")
    args = build_parser().parse_args(["--config", str(config), "--train_file", "a.xyz"])
    assert (args.screening, args.susceptibility, args.ema) == ("uncoupled", 0.4, True)


def test_help_shows_every_flag():
    text = " ".join(build_parser().format_help().split())
    for flag in FLAGS:
        assert f"--{flag.name}" in text
    assert "--overwrite" in text
    assert "(default: REF_dipole)" in text


def test_namespace_holds_plain_values_only(tmp_path):
    json.dumps(vars(parse(tmp_path, "--susceptibility=0.4", "--dipole_axes=z")))


def test_every_option_of_the_model_is_a_flag_or_fixed():
    fixed = {"slab_vacuum", "charge_channels", "dipole_channels", "born_channels"}
    fixed |= {"learn_susceptibility", "learn_given_susceptibility"}  # a value of other flags
    fixed |= {"learn_screening_value", "polarizability_channels", "training_labels"}
    mace = {"total_charge_key"}
    fields = {field.name for field in dataclasses.fields(SmileOptions)}
    assert fields - {flag.name for flag in FLAGS} - mace == fixed


def test_key_of_the_total_charge_travels_with_the_model(tmp_path):
    assert options(tmp_path, "--total_charge_key=Q").total_charge_key == "Q"
    assert options(tmp_path).total_charge_key == "total_charge"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--smearing=0", "--smearing is 0.0 but must be positive"),
        ("--susceptibility=-1", "--susceptibility is -1.0 but must be above -1"),
        ("--screening_value=0", "--screening_value is 0.0 but must be finite and not"),
        ("--screening_value=learned", "learned is for --screening global only"),
        ("--screening=local --screening_value=learned", "learned is for --screening global only"),
        ("--born_charge_method=phase --screening=uncoupled", "only --screening global and local"),
        ("--phase_harmonics=2 --screening=local", "other methods have no phases"),
        ("--acoustic_sum_rule=subtract", "use --screening uncoupled, global or local"),
        ("--screening=global --charge_head=none", "neither charges nor dipoles"),
        ("--macro_dipole_weight=-1", "--macro_dipole_weight is -1.0 but must be zero or positive"),
        ("--macro_dipole_weight=nan", "--macro_dipole_weight is nan but"),
        ("--smearing=1 --electrostatics=none", "--smearing has no effect here: there is no elec"),
        ("--lr_wavelength=1 --charge_head=none", "--lr_wavelength has no effect here"),
        ("--electrostatics=ewald --charge_head=none", "use --charge_head local"),
        ("--given_susceptibility=-2 --given_charges_key=q --given_mask_key=m", "be above -1"),
        ("--given_susceptibility=learned", "no charges are given; use --given_charges_key too"),
        ("--dipoles_in_energy=True", "--dipoles_in_energy has no effect here.*use --dipole_head"),
        (
            "--dipoles_in_energy=True --dipole_head=local --electrostatics=none",
            "there is no electrostatic energy; use --charge_head local and --electrostatics auto",
        ),
        (
            "--dipoles_in_energy=True --dipole_head=local --charge_head=none",
            "there is no electrostatic energy; use --charge_head local and --electrostatics auto",
        ),
        ("--dipole_elements=O", "--dipole_elements has no effect here.*use --dipole_head local"),
        ("--dipole_elements=O,Q --dipole_head=local", "names 'Q', which is no chemical symbol"),
        ("--polarization_key=P", "--polarization_key has no effect here.*use --dipole_quantum 1"),
        ("--charge_head=none --susceptibility=learned", "predict neither charges nor dipoles"),
        ("--charge_head=none --dipole_quantum=2", "--dipole_quantum has no effect here"),
        ("--charge_head=none --macro_dipole_norm=total", "--macro_dipole_norm has no effect here"),
        ("--charge_head=none --dipole_axes=z", "--dipole_axes has no effect here"),
        ("--charge_head=none --dipole_key=mu", "--dipole_key has no effect here"),
        ("--charge_head=none --total_charge_constraint=exact", "predicts no charges"),
        ("--born_effective_charges_weight=2", "use --screening uncoupled"),
        ("--becs_key=BEC", "--becs_key has no effect here.*use --screening uncoupled"),
        ("--total_charge_weight=2", "use --total_charge_constraint penalty"),
        ("--polarizability_key=alpha", "no polarizability; use --polarizability_head local"),
        ("--polarizability_weight=2", "no polarizability; use --polarizability_head local"),
        ("--swa_polarizability_weight=2 --swa", "use --polarizability_head local"),
        ("--given_mask_key=wall", "no charges are given; use --given_charges_key too"),
        ("--given_charges_key=q", "use --given_mask_key too"),
        ("--swa_macro_dipole_weight=2", "there is no second stage; use --swa"),
        ("--boundary=slab", "add --slab_axis 0, 1 or 2"),
        ("--slab_axis=2", "--slab_axis has no effect here"),
        ("--coulomb_cutoff=-1 --coulomb_terms=full", "--coulomb_cutoff is -1.0 but must be posit"),
        ("--mesh_spacing=inf", "--mesh_spacing is inf but must be positive and finite"),
        ("--long_range_channels=0 --long_range_readout=learned", "must be at least 1"),
        ("--electrostatics=pme --lr_wavelength=1", "--lr_wavelength has .*use --mesh_spacing"),
        ("--electrostatics=p3m --lr_wavelength=1", "--lr_wavelength has .*use --mesh_spacing"),
        ("--electrostatics=ewald --mesh_spacing=1", "--mesh_spacing has .*use --lr_wavelength"),
        ("--coulomb_cutoff=6", "--coulomb_cutoff has no effect here: .*use --coulomb_terms full"),
        ("--long_range_channels=2", "--long_range_channels has .*use --long_range_readout learned"),
        ("--boundary=open --lr_wavelength=1", "--lr_wavelength has .*sums over all pairs"),
        ("--boundary=open --mesh_spacing=1", "--mesh_spacing has .*sums over all pairs"),
        ("--boundary=open --electrostatics_accuracy=1e-4", "_accuracy has .*sums over all pairs"),
        ("--boundary=open --coulomb_terms=full --coulomb_cutoff=6", "_cutoff has .*all pairs"),
        ("--boundary=open --coulomb_terms=full --smearing=1", "--smearing has .*are point charges"),
        ("--boundary=open --net_charge=error", "--net_charge has .*may have a net charge"),
        ("--total_charge_constraint=none --net_charge=error", "use --total_charge_constraint exa"),
        ("--electrostatics=none --net_charge=error", "--net_charge has .*no electrostatic energy"),
        ("--electrostatics=none --long_range_readout=learned", "no electrostatic energy"),
        ("--electrostatics=none --electrostatics_accuracy=1e-4", "no electrostatic energy"),
    ],
)
def test_flags_that_cannot_be_right_are_refused(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        options(tmp_path, *flags.split())


@pytest.mark.parametrize(
    "flags",
    [
        "--charge_head=none --electrostatics=none --total_charge_constraint=none",
        "--charge_head=none --macro_dipole_weight=0",
        "--swa --swa_macro_dipole_weight=2",
        "--start_swa=3 --stage_two_macro_dipole_weight=2",
        "--born_effective_charges_weight=0",
        "--long_range_channels=1",
        "--lr_wavelength=0.5 --mesh_spacing=0.2",
        "--boundary=open --smearing=0.8",
    ],
)
def test_flags_that_ask_for_nothing_or_go_together_are_accepted(tmp_path, flags):
    options(tmp_path, *flags.split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model=MACELES", "--model MACELES cannot carry charges here; use --model MACE"),
        ("--model=AtomicDipolesMACE", "AtomicDipolesMACE cannot carry charges"),
        ("--enable_oeq=True", "--enable_oeq is not supported"),
        ("--loss=energy_forces_dipole", "has its own weight, --macro_dipole_weight"),
        ("--error_table=DipoleRMSE", "belongs to MACE's dipole models"),
        ("--dipole_weight=3", "--dipole_weight has no effect here.*use --macro_dipole_weight"),
        ("--swa_dipole_weight=3", "use --swa_macro_dipole_weight"),
        ("--test_dir=somewhere", "--test_dir 'somewhere' of head 'Default' is no folder with HDF5"),
        ("--train_file=data.h5", "'data.h5' does not exist"),
        ("--train_file=nowhere.xyz", "'nowhere.xyz' of head 'Default' does not exist"),
        ("--heads=[1]", "--heads must be a dictionary"),
        ("--heads={", "--heads cannot be read as a dictionary"),
    ],
)
def test_flags_of_mace_that_cannot_work_are_refused(tmp_path, flags, message):
    (tmp_path / "train.xyz").touch()
    with pytest.raises(UserError, match=message):
        check_mace_flags(parse(tmp_path, *flags.split()))


def test_help_loads_neither_the_training_nor_the_sums():
    code = (
        "import sys, mace_smile.cli.run_train\n"
        "from mace_smile.training.mace_parser import build_parser\n"
        "build_parser().format_help()\n"
        "print(sorted({'torchpme', 'metatensor', 'mace.cli.run_train'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_training_file_is_wanted(tmp_path):
    args = parse(tmp_path)
    args.train_file = None
    with pytest.raises(UserError, match="has no training file; use --train_file"):
        check_mace_flags(args)


def test_heads_have_files_of_their_own(tmp_path):
    heads = {"a": {"train_file": "a.xyz"}, "b": {"train_file": ["b.xyz", "c.xyz"]}}
    files = files_by_head(parse(tmp_path, f"--heads={heads}", "--valid_file=v.xyz"))
    assert files["a"] == {"train_file": ["a.xyz"], "valid_file": ["v.xyz"], "test_file": []}
    assert files["b"]["train_file"] == ["b.xyz", "c.xyz"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--screning=none", "unrecognized arguments: --screning=none .*did you mean --screening"),
        ("--screening=semilocal", "argument --screening: invalid choice: 'semilocal'"),
        ("--susceptibility=much", "--susceptibility: 'much' is neither a number nor learned"),
        ("--dipole_quantum=3", "argument --dipole_quantum: invalid choice: '3'"),
        ("--config=nowhere.yaml", "Unable to open config file: nowhere.yaml"),
    ],
)
def test_command_line_that_cannot_be_parsed_is_one_sentence(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        parse(tmp_path, *flags.split())


def test_unknown_key_in_a_yaml_file_is_one_sentence(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("name: slab\nsuceptibility: 0.4\n")
    with pytest.raises(UserError, match="--suceptibility=0.4.*did you mean --susceptibility"):
        build_parser().parse_args(["--config", str(config)])
