"""Exported models run here without TorchScript's optimiser, whose compilation takes most time.

The tests of the engines keep it: there each model is called several times, as in a simulation.
"""

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def _unoptimised_torchscript():
    with torch.jit.optimized_execution(False):
        yield
