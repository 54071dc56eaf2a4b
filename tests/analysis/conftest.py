"""A folder with a model, slabs and a reference."""

import shutil

import ase.io
import numpy as np
import pytest
import torch
from mace.tools.torch_tools import default_dtype

from helpers import GIVEN, make_model
from profile_data import slabs


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model with a chi, built once, in double precision."""
    path = tmp_path_factory.mktemp("model") / "small.model"
    with default_dtype(torch.float64):
        torch.save(make_model(**GIVEN, susceptibility=0.4), path)
    return path


@pytest.fixture
def folder(tmp_path, small_model):
    """A model with a chi, slabs and a reference."""
    shutil.copy(small_model, tmp_path)
    ase.io.write(tmp_path / "in.xyz", slabs())
    z = np.arange(240) * 0.1
    np.savez(tmp_path / "reference.npz", z=z, phi=np.zeros((4, 240)))
    return tmp_path
