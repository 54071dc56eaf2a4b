"""Born effective charges that are derivatives of charges fitted on a frozen MACE."""

import numpy as np
import pytest

from frozen_data import arguments, prepare, slab, slabs
from helpers import make_batch
from mace_smile.errors import UserError
from mace_smile.frozen import commands
from mace_smile.model.files import load_model


def test_born_charges_follow_from_fitted_charges_and_a_given_factor(tmp_path):
    prepare(tmp_path, slabs(3, 2))
    flags = ("--susceptibility=0.5", "--screening=global", "--screening_value=-1.2")
    commands.train_charges(arguments(tmp_path, *flags))
    model = load_model(tmp_path / "film.model")
    output = model(make_batch([slab(7, 0, 0.1)], model))
    assert model.scale_value() == -1.2
    assert (output["screening"] == model.scale_value()).all()
    assert output["born_effective_charges"].abs().max() > 0.01


@pytest.mark.parametrize(
    "flags", [("--screening=local",), ("--screening=global", "--screening_value=learned")]
)
def test_factors_are_not_learned_on_a_frozen_model(tmp_path, flags):
    frames = slabs(3, 2)
    for atoms in frames:
        atoms.arrays["REF_becs"] = np.zeros((len(atoms), 9))
    prepare(tmp_path, frames)
    with pytest.raises(UserError, match="learned screening factors .* give --screening global and"):
        commands.train_charges(arguments(tmp_path, *flags))
