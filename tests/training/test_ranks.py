import socket

import pytest
import torch
import torch.multiprocessing

from helpers import make_model
from ranks import backward, one_rank


def test_two_ranks_have_the_gradients_of_one_batch(tmp_path):
    learned = {"learn_susceptibility": True, "learn_given_susceptibility": True}
    model = make_model(electrostatics="ewald", dipole_head="local", **learned)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(one_rank, (port, model, tmp_path), nprocs=2)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    loss, gradients = backward(model, [0, 1, 2, 3])
    assert sum(result[0] for result in results) / 2 == pytest.approx(loss)
    for _, of_rank in results:
        for name, gradient in gradients.items():
            torch.testing.assert_close(of_rank[f"module.{name}"], gradient, rtol=1e-9, atol=1e-12)
