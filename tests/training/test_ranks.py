import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.multiprocessing

from helpers import make_model
from mace_smile.errors import UserError
from mace_smile.training.losses import zero_of
from mace_smile.training.ranks import VARIABLES, check_frames_of_ranks
from ranks import backward, batch_of, one_rank
from training_data import SMALL, frames, log_of, parse, run, run_arguments, validation, write


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


def test_every_parameter_has_a_gradient_whatever_is_labelled():
    heads = {"dipole_head": "local", "screening": "uncoupled", "polarizability_head": "local"}
    model = make_model(electrostatics="none", **heads)
    output = model(batch_of([2, 3]).to_dict(), training=True, compute_force=True)
    loss = zero_of(output)
    loss.backward()
    assert loss == 0.0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name


TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port")
FLAGS = "--screening=global --max_num_epochs=3 --charges_weight=0 --lr=0.01"


@pytest.mark.parametrize(
    "flags",
    [
        "--loss=weighted --ema",
        pytest.param("--loss=huber --start_swa=2", marks=pytest.mark.slow),
        pytest.param("--loss=universal --lbfgs", marks=pytest.mark.slow),
    ],
)
def test_torchrun_trains_as_one_rank_with_twice_the_batch(tmp_path, flags):
    flags = (*FLAGS.split(), *flags.split())
    structures = frames(8)
    for atoms in structures[1::3]:  # a rank may see no label of ours
        del atoms.info["REF_dipole"], atoms.arrays["REF_becs"], atoms.arrays["REF_charges"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, structures[:4])
        write(tmp_path / name, structures[4:], "valid.xyz")
    valid = f"--valid_file={tmp_path}/two/valid.xyz"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, *TORCHRUN, port, "-m", "mace_smile.cli.run_train", "--name=water"]
    command += [f"--train_file={tmp_path}/two/train.xyz", f"--work_dir={tmp_path}/two", *SMALL]
    command += [valid, *flags, "--distributed", "--launcher=torchrun", "--device=cpu"]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=580,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    run(tmp_path / "one", valid, *flags, "--batch_size=4")
    two, one = validation(tmp_path / "two"), validation(tmp_path / "one")
    assert [entry["epoch"] for entry in two] == [None, 0, 1, 2]
    for ours, theirs in zip(two, one, strict=True):
        for name in ("rmse_f", "mae_e", "rmse_macro_dipole", "rmse_born_effective_charges"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name
        # MACE adds up the mean losses of the batches, of which each rank has one.
        assert ours["loss"] == pytest.approx(2 * theirs["loss"], rel=1e-6)
    assert "Processes: 2" in log_of(tmp_path / "two")
    weights = [
        torch.load(tmp_path / name / "water.model", weights_only=False).state_dict()
        for name in ("one", "two")
    ]
    for name, values in weights[0].items():
        torch.testing.assert_close(weights[1][name], values, rtol=1e-6, atol=1e-9)


def test_stage_two_that_one_rank_would_begin_alone_is_refused(tmp_path, monkeypatch):
    write(tmp_path, frames(4))
    flags = "--distributed --launcher=torchrun --start_swa=5 --max_num_epochs=8 --patience=4"
    for name in VARIABLES["torchrun"]:
        monkeypatch.setenv(name, "1")
    with pytest.raises(UserError, match="--patience 4 may end the first stage before epoch 5"):
        run_arguments(parse(tmp_path, *flags.split()))


def test_fewer_frames_than_ranks_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_frames_of_ranks(2, 2)
    with pytest.raises(UserError, match="there are 1 frames to validate on but 2 ranks"):
        check_frames_of_ranks(8, 1)


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ("", {"WORLD_SIZE": "2"}, "2 processes were started but --distributed is not given"),
        ("--distributed --launcher=none", {}, "--distributed needs a --launcher"),
        ("--distributed --launcher=torchrun", {}, "finds no RANK, LOCAL_RANK, WORLD_SIZE in the"),
    ],
)
def test_ranks_that_do_not_know_of_each_other_are_refused(
    tmp_path, monkeypatch, flags, environment, message
):
    write(tmp_path, frames(4))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{message}.*start the processes with torchrun"):
        run_arguments(parse(tmp_path, *flags.split()))
