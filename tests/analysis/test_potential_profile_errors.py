"""What ``mace_smile_potential_profile`` refuses, in one sentence and without leaving a file."""

import re

import ase.io
import numpy as np
import pytest
import torch

from helpers import bulk_water, make_model, open_water, slab_water
from profile_data import BARE, failure, run, slabs


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--charges_key", "zero"], "give --model, or --charges_key .* not both"),
        (["--given_mask_key", "electrode"], "--given_mask_key serves --charges_key only"),
        (["--screening", "none", "--susceptibility", 1], "--susceptibility has no effect"),
        (["--film_permittivity", 2.0], "serve --screening profile only"),
        (["--susceptibility", -1.0], "--susceptibility is -1.0 but must be above -1"),
        (["--width", -0.1], "--width is -0.1 but must be positive"),
        (["--window", 1.0, 2.0, 3.0], "--window .* one or two positive lengths"),
        (["--window", -1.0], "--window .* one or two positive lengths"),
        (["--reference_is_smooth"], "need --reference"),
        (["--minus", "in.xyz", "--reference", "reference.npz"], "needs --minus_reference"),
        (["--blocks", 0], "--blocks is 0 but must be at least 1"),
        (["--batch_size", 0], "--batch_size is 0"),
        (["--index", "nonsense"], "cannot be read as structures with --index nonsense"),
        (["--index", "7:"], "holds no structures with --index 7:"),
        (["--head", "other"], "the model has no head 'other'"),
        (["--slab_axis", 1], "periodic along all cell axes but 2, while the slab axis is 1"),
        (["--reference", "none.npz"], "there is no reference"),
    ],
)
def test_flags_that_cannot_be_are_refused(monkeypatch, folder, capsys, flags, message):
    monkeypatch.chdir(folder)
    assert re.search(message, failure(monkeypatch, folder, capsys, *flags))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --model, or --charges_key for charges of the structures, but one"),
        (["--charges_key", "nope"], "frame 0 has no array 'nope' [(]--charges_key[)]; it has"),
        (["--charges_key", "zero", "--given_charges", "x"], "--given_charges serves --model"),
        (["--charges_key", "zero", "--head", "x"], "--head serves --model only"),
        ([*BARE, "--screening", "uniform"], "needs --susceptibility"),
        (
            ["--charges_key", "zero", "--screening", "profile", "--susceptibility", 0.4],
            "needs --given_mask_key",
        ),
        ([*BARE, "--screening", "profile", "--susceptibility", 0.0], "must be positive"),
    ],
)
def test_flags_of_arrays_are_checked(monkeypatch, folder, capsys, flags, message):
    assert re.search(message, failure(monkeypatch, folder, capsys, *flags, model=None))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([open_water()], "needs a slab; set pbc along the two axes"),
        ([bulk_water()], "periodic along all three axes, and a potential profile needs a slab"),
        ([slab_water(12.0)], "no vacuum gap"),
        ([slab_water(24.0), slab_water(26.0)], "the height of the cells of frame 0 and frame 1"),
    ],
)
def test_structures_that_are_no_slabs_are_refused(monkeypatch, folder, capsys, frames, message):
    for atoms in frames:
        for name in ("electrode", "electrode_charge"):
            if name not in atoms.arrays:
                atoms.arrays[name] = np.zeros(len(atoms))
    ase.io.write(folder / "bad.xyz", frames)
    assert re.search(message, failure(monkeypatch, folder, capsys, configs="bad.xyz"))


def test_given_charges_of_the_training_must_be_there(monkeypatch, folder, capsys):
    frames = slabs()
    del frames[2].arrays["electrode_charge"]
    ase.io.write(folder / "bad.xyz", frames[2:])
    error = failure(monkeypatch, folder, capsys, configs="bad.xyz")
    assert "frame 0 has no array 'electrode_charge', the given charges" in error


@pytest.mark.parametrize(
    ("options", "flags", "message"),
    [
        ({"charge_head": "none"}, [], "predicts neither charges nor dipoles"),
        ({"boundary": "open"}, [], "trained with --boundary open, so it knows no slabs"),
        ({"boundary": "slab", "slab_axis": 2}, ["--slab_axis", 0], "was trained with 2"),
        ({"total_charge_constraint": "none"}, [], "must add up to 0"),
        ({"susceptibility": 0.4}, ["--screening", "profile"], "on both sides of the film"),
    ],
)
def test_models_that_cannot_be_used_are_refused(
    monkeypatch, folder, capsys, options, flags, message
):
    torch.save(make_model(**options), folder / "other.model")
    error = failure(monkeypatch, folder, capsys, *flags, model="other.model")
    assert re.search(message, error)


def test_files_are_not_replaced_unless_asked(monkeypatch, folder, capsys):
    run(monkeypatch, folder)
    before = (folder / "out.npz").read_bytes()
    assert "exists; give another name, or --overwrite" in failure(monkeypatch, folder, capsys)
    assert (folder / "out.npz").read_bytes() == before
    run(monkeypatch, folder, "--overwrite", "--screening", "none")
    assert (folder / "out.npz").read_bytes() != before
    assert "there is no folder" in failure(monkeypatch, folder, capsys, output="none/out")


def test_sets_and_references_of_other_lengths_are_refused(monkeypatch, folder, capsys):
    ase.io.write(folder / "three.xyz", slabs(3))
    error = failure(monkeypatch, folder, capsys, "--minus", folder / "three.xyz")
    assert "--minus has 3 structures but --configs has 4" in error
    flags = ["--reference", folder / "reference.npz"]
    error = failure(monkeypatch, folder, capsys, *flags, configs="three.xyz")
    assert "has 4 profiles but there are 3 structures" in error
