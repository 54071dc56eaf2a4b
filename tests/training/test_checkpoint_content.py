"""A file is loaded as a whole or refused, before anything is replaced."""

import argparse
from types import SimpleNamespace

import pytest
import torch

from mace_smile.errors import UserError
from mace_smile.training.checkpoint_content import check_epochs_left
from mace_smile.training.checkpoints import read_checkpoint
from mace_smile.training.head_checks import check_foundation_head
from mace_smile.training.progress import Progress
from mace_smile.training.stage_checks import check_stages
from training_data import frames, run, validation, write

FLAGS = ("--screening=uncoupled", "--valid_fraction=0.5")
LBFGS = (*FLAGS, "--lbfgs", "--batch_size=1")


def contents(directory):
    return {path: path.read_bytes() for path in (directory / "checkpoints").iterdir()}


def epochs(directory):
    return [entry["epoch"] for entry in validation(directory)]


def test_nothing_is_replaced_where_mace_fails_to_load_and_says_nothing(tmp_path, monkeypatch):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=2")
    before = contents(tmp_path)

    def fail(*args, **named):
        raise RuntimeError

    monkeypatch.setattr("mace.tools.checkpoint.CheckpointBuilder.load_checkpoint", fail)
    with pytest.raises(UserError, match="could not continue at epoch 1 and would begin with 0"):
        run(tmp_path, *FLAGS, "--max_num_epochs=3", "--restart_latest")
    assert contents(tmp_path) == before


def test_lbfgs_continues_with_its_own_state_and_from_that_of_adam(tmp_path):
    for name, first in (("lbfgs", LBFGS), ("adam", FLAGS)):
        directory = tmp_path / name
        directory.mkdir()
        write(directory, frames(3))
        run(directory, *first, "--max_num_epochs=1")
        run(directory, *LBFGS, "--max_num_epochs=2", "--restart_latest")
        assert epochs(directory)[-2:] == [0, 1]


def test_lbfgs_of_other_sizes_is_refused(tmp_path):
    write(tmp_path, frames(3))
    run(tmp_path, *LBFGS, "--max_num_epochs=1")
    path = tmp_path / "checkpoints" / "water_run-1_epoch-0.pt"
    content = torch.load(path, weights_only=False)
    content["optimizer"]["state"][0]["d"] = torch.zeros(3)
    torch.save(content, path)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="holds an optimizer or scheduler with which no step"):
        run(tmp_path, *LBFGS, "--max_num_epochs=2", "--restart_latest")
    assert contents(tmp_path) == before


def test_a_run_begins_with_the_epoch_that_was_loaded(tmp_path):
    progress = Progress(tmp_path / "water_run-1_restart.pt")
    progress.start_epoch = 3
    progress.check_start(3)
    progress.check_start(4)  # what comes later is no start
    progress.start_epoch = 3
    with pytest.raises(UserError, match="could not continue at epoch 3 and would begin with 0"):
        progress.check_start(0)


def test_a_restart_file_leaves_epochs_to_train(tmp_path):
    check_epochs_left(tmp_path, {"epoch": 4}, 5)
    with pytest.raises(UserError, match="is at epoch 5, and --max_num_epochs 5 leaves no epoch"):
        check_epochs_left(tmp_path, {"epoch": 5}, 5)


@pytest.mark.parametrize(
    ("start_swa", "last", "interval", "start_epoch", "stage"),
    [
        (None, 4, 9, 0, None),  # epoch 0 is always validated
        (None, 8, 4, 5, "one"),
        (3, 4, 2, 0, "two"),
        (3, 5, 2, 0, None),
        (3, 4, 3, 0, None),
        (4, 4, 3, 0, None),  # MACE trains no stage two
        (9, 4, 3, 0, None),
        (2, 6, 1, 3, "one"),  # its checkpoint is gone
    ],
)
def test_each_stage_is_validated(tmp_path, start_swa, last, interval, start_epoch, stage):
    args = argparse.Namespace(
        swa=False,
        start_swa=start_swa,
        max_num_epochs=last,
        eval_interval=interval,
        restart_latest=True,
        checkpoints_dir=str(tmp_path),
        name="water",
        seed=1,
    )
    if stage is None:
        check_stages(args, start_epoch)
        return
    with pytest.raises(UserError, match=f"stage {stage} would end without a model"):
        check_stages(args, start_epoch)
    suffix = "_swa" if stage == "two" else ""
    (tmp_path / f"water_run-1_epoch-1{suffix}.pt").touch()
    check_stages(args, start_epoch)


def test_a_compiled_model_is_no_checkpoint(tmp_path):
    path = tmp_path / "water_run-1_epoch-3.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    for trust in (False, True):
        with pytest.raises(UserError, match="cannot be read .*it is a compiled model"):
            read_checkpoint(path, trust)


def test_foundation_head_is_one_of_the_model():
    model = SimpleNamespace(heads=["pbe", "r2scan"])
    check_foundation_head("pbe", model)
    check_foundation_head(None, model)
    check_foundation_head("Default", SimpleNamespace())
    with pytest.raises(UserError, match="is 'scan' but the foundation model has pbe, r2scan"):
        check_foundation_head("scan", model)
