"""Fixtures of all tests: double precision unless a test says otherwise."""

import pytest
import torch

import mace_smile  # noqa: F401  (tells e3nn how to read its constants, before e3nn is imported)


@pytest.fixture(autouse=True)
def _double_precision():
    """Run each test in float64, and leave torch's default as it was."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
