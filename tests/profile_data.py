"""Slabs between charged walls, and runs of ``mace_smile_potential_profile``, for its tests."""

import json
import sys

import numpy as np
import pytest

from helpers import slab_water
from mace_smile.cli.potential_profile import main

BARE = ["--charges_key", "electrode_charge", "--given_mask_key", "electrode"]


def slabs(number: int = 4) -> list:
    """Slabs of one cell with a mask and charges of walls."""
    frames = []
    for seed in range(number):
        atoms = slab_water(24.0)
        film = atoms.numbers != 10
        atoms.positions[film] += 0.05 * np.random.default_rng(seed).normal(size=(film.sum(), 3))
        atoms.arrays["electrode_charge"] *= seed / 2
        atoms.arrays["zero"] = np.zeros(len(atoms))
        frames.append(atoms)
    return frames


def run(monkeypatch, folder, *flags, configs="in.xyz", model="small.model", output="out"):
    arguments = ["--configs", str(folder / configs), "--output", str(folder / output)]
    if model is not None:
        arguments += ["--model", str(folder / model)]
    monkeypatch.setattr(sys, "argv", ["mace_smile_potential_profile", *arguments, *map(str, flags)])
    main()


def result(folder, name="out"):
    """Arrays, settings and numbers of an output."""
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays["settings"])), json.loads(str(arrays["numbers"]))


def failure(monkeypatch, folder, capsys, *flags, **kwargs) -> str:
    """The sentence of a run that ends with exit code 2 and leaves no file."""
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, folder, *flags, **kwargs)
    assert stop.value.code == 2
    assert sorted(path.name for path in folder.iterdir()) == before
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]
