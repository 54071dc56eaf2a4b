import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers import make_model
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.model.options import SmileOptions
from mace_smile.training.checkpoints import (
    check_flags_fit,
    flags_of_model,
    write_atomically,
)
from mace_smile.training.labels import LabelSettings
from mace_smile.training.mace_parser import build_parser
from mace_smile.training.plan import TrainingPlan
from mace_smile.training.progress import Progress, mean_neighbors
from mace_smile.training.restart_seams import with_complete_checkpoints, with_complete_models
from training_data import SMALL, frames, log_of, run, validation, write

FLAGS = ("--screening=uncoupled", "--valid_fraction=0.5", "--ema", "--lr=0.001")


COUPLED = (*FLAGS, "--screening=global")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A folder in which a run has ended."""
    directory = tmp_path_factory.mktemp("earlier")
    write(directory, frames(4))
    run(directory, *COUPLED, "--max_num_epochs=2")
    return directory


def checkpoints(directory):
    return sorted(path.name for path in (directory / "checkpoints").glob("*_epoch-*.pt"))


def test_restart_continues_from_the_stored_weights_and_epoch(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=3")
    last = validation(tmp_path)[-1]
    assert checkpoints(tmp_path) == ["water_run-1_epoch-2.pt"]
    run(tmp_path, *FLAGS, "--max_num_epochs=5", "--restart_latest")
    entries = validation(tmp_path)
    restart = len(entries) - 1 - [entry["epoch"] for entry in reversed(entries)].index(None)
    assert entries[restart]["loss"] == pytest.approx(last["loss"], rel=1e-12)
    assert [entry["epoch"] for entry in entries[restart:]] == [None, 2, 3, 4]
    assert entries[-1]["loss"] < last["loss"]


class Killed(BaseException):
    """What ends a run in the middle of an epoch."""


@pytest.mark.parametrize(
    "flags",
    [
        ("--ema", "--scheduler=ExponentialLR", "--lr_scheduler_gamma=0.9"),
        ("--swa", "--start_swa=1", "--swa_lr=0.0001"),
        ("--optimizer=schedulefree", "--scheduler_patience=0", "--lr_factor=0.5"),
    ],
    ids=lambda flags: flags[0].strip("-").replace("=", "_"),
)
def test_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch, flags):
    flags = ("--screening=uncoupled", "--batch_size=1", "--lr=0.005", "--max_num_epochs=4", *flags)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for directory in (whole, killed):
        directory.mkdir()
        write(directory, frames(6))
    run(whole, *flags)
    module = sys.modules["mace.tools.train"]  # the attribute of this name is a function
    take_step, steps = module.take_step, [0]

    def step_or_die(**named):
        steps[0] += 1
        if steps[0] in (8, 17):  # in the second epoch, and in the third of the second attempt
            raise Killed
        return take_step(**named)

    monkeypatch.setattr(module, "take_step", step_or_die)
    for restart in ([], ["--restart_latest"]):
        with pytest.raises(Killed):
            run(killed, *flags, *restart)
    run(killed, *flags, "--restart_latest")
    losses = [{one["epoch"]: one["loss"] for one in validation(path)} for path in (whole, killed)]
    for epoch in range(4):
        assert losses[1][epoch] == pytest.approx(losses[0][epoch], rel=1e-12)


def test_restart_continues_in_stage_two(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--start_swa=2", "--max_num_epochs=3")
    assert checkpoints(tmp_path) == ["water_run-1_epoch-1.pt", "water_run-1_epoch-2_swa.pt"]
    run(tmp_path, *FLAGS, "--start_swa=2", "--max_num_epochs=4", "--restart_latest")
    assert [entry["epoch"] for entry in validation(tmp_path)][-3:] == [None, 2, 3]
    assert "Loaded Stage two model from epoch 3" in log_of(tmp_path)


def test_restart_without_a_checkpoint_starts_at_the_beginning(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=1", "--restart_latest")
    assert [entry["epoch"] for entry in validation(tmp_path)] == [None, 0]


def test_checkpoint_of_other_weights_is_refused_with_both_lists(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=1")
    message = r"only in the checkpoint: .*\(64,\).*; only in the model: .*\(256,\)"
    with pytest.raises(UserError, match=message):
        run(tmp_path, *FLAGS, "--max_num_epochs=2", "--restart_latest", "--num_channels=16")
    path = tmp_path / "checkpoints" / "water_run-1_epoch-0.pt"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["flags"]  # as before they were stored
    torch.save(checkpoint, path)
    (tmp_path / "checkpoints" / "water_run-1_restart.pt").unlink()
    message = (
        r"does not fit the model.*only in the checkpoint: charge_heads\.charges\..*; "
        r"only in the model: nothing"
    )
    with pytest.raises(UserError, match=message):
        run(tmp_path, *FLAGS, "--max_num_epochs=2", "--restart_latest", "--charge_head=none")


def test_checkpoint_with_other_groups_is_refused_with_both_lists(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=1")
    path = tmp_path / "checkpoints" / "water_run-1_epoch-0.pt"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["optimizer"]["param_groups"][-1]
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"in the checkpoint: .*; in the optimizer: .*charge_heads"):
        run(tmp_path, *FLAGS, "--max_num_epochs=2", "--restart_latest")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--smearing=1.5", "--smearing was None and is now 1.5"),
        ("--susceptibility=0.4", "--susceptibility was 0.0 and is now 0.4"),
        ("--screening_value=0.8", "--screening_value was None and is now 0.8"),
        ("--electrostatics=p3m", "--electrostatics was auto and is now p3m"),
        ("--coulomb_terms=full", "--coulomb_terms was long_range and is now full"),
        ("--acoustic_sum_rule=subtract", "--acoustic_sum_rule was none and is now subtract"),
        ("--r_max=3.5", r"--r_max was 4\.0 and is now 3\.5"),
        ("--gate=tanh", "--gate was silu and is now tanh"),
        ("--E0s={1:-1.0,8:-3.0}", r"--E0s was {1:-1\.0,8:-2\.0} and is now {1:-1\.0,8:-3\.0}"),
    ],
)
def test_checkpoint_of_other_physics_is_refused_with_both_values(earlier, flag, message):
    files = {path: path.read_bytes() for path in earlier.rglob("*.pt")}
    assert len(files) == 2  # each alone is refused
    for kept in files:
        for path, content in files.items():
            path.write_bytes(content) if path == kept else path.unlink()
        with pytest.raises(UserError, match=f"is of another model: {message}; restart with"):
            run(earlier, *COUPLED, flag, "--max_num_epochs=2", "--restart_latest")
    for path, content in files.items():
        path.write_bytes(content)


def test_learned_susceptibility_is_not_that_of_a_number():
    options = SmileOptions(susceptibility=0.2, learn_susceptibility=True)
    flags = flags_of_model(build_parser().parse_args(["--name=x"]), options)
    assert flags["susceptibility"] == "learned from 0.2"
    old = {"model": {}}  # of a version that stored no flags
    check_flags_fit(Path("a.pt"), old, flags)
    with pytest.raises(UserError, match=r"--susceptibility was 0\.2 and is now learned from 0\.2"):
        check_flags_fit(Path("a.pt"), {"flags": {"susceptibility": "0.2"}}, flags)


def test_unreadable_checkpoint_is_refused(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=1")
    path = tmp_path / "checkpoints" / "water_run-1_epoch-7.pt"
    path.write_bytes(b"half a checkpoint")
    with pytest.raises(UserError, match="epoch-7.pt' cannot be read .*remove it to continue"):
        run(tmp_path, *FLAGS, "--max_num_epochs=2", "--restart_latest")


def test_checkpoints_of_a_killed_run_are_not_mixed_with_a_new_one(tmp_path):
    write(tmp_path, frames(4))
    (tmp_path / "checkpoints").mkdir()
    old = tmp_path / "checkpoints" / "water_run-1_epoch-90.pt"
    old.touch()
    with pytest.raises(UserError, match="epoch-90.pt' of an earlier run exists"):
        run(tmp_path, *FLAGS, "--max_num_epochs=1")
    run(tmp_path, *FLAGS, "--max_num_epochs=1", "--overwrite")
    assert not old.exists()


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    write_atomically({"epoch": 1}, path)

    def die_halfway(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die_halfway)
    with pytest.raises(KeyboardInterrupt):
        write_atomically({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}


class Handler:
    """Stands for MACE's CheckpointIO."""

    keep, swa_start, old_path, tag = False, None, None, "water"

    def __init__(self, directory):
        self.directory = str(directory)

    def _get_checkpoint_filename(self, epochs, swa_start=None):
        return f"water_epoch-{epochs}.pt"


@pytest.fixture
def plan(tmp_path):
    progress = Progress(tmp_path / "water_restart.pt")
    progress.loss = {False: "loss", True: "loss of stage two"}
    progress.model = make_model()
    return TrainingPlan(SmileOptions(), LabelSettings(), progress)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_interrupted_write_leaves_the_old_model(tmp_path, plan):
    path = tmp_path / "water.model"
    path.write_bytes(b"whole")

    def die_halfway(content, file, flag):
        file.write(flag)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_complete_models(die_halfway, plan)({}, path, b"half")
    assert path.read_bytes() == b"whole"
    with_complete_models(torch.save, plan)({"epoch": 2}, str(path))
    assert torch.load(path, weights_only=True) == {"epoch": 2}


def test_old_checkpoint_goes_when_the_new_one_is_complete(tmp_path, plan, monkeypatch):
    save = with_complete_checkpoints(lambda: None, plan)
    handler = Handler(tmp_path)
    plan.progress.validation_loss = 4.0
    save(handler, {}, 1)
    (tmp_path / ".incomplete.water_epoch-0.pt").touch()
    plan.progress.validation_loss = 3.0
    save(handler, {}, 2)
    assert names(tmp_path) == ["water_epoch-2.pt"]
    plan.progress.validation_loss = 2.0
    save(handler, {}, 3, keep_last=True)
    assert names(tmp_path) == ["water_epoch-2.pt", "water_epoch-3.pt"]

    def die(content, file):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die)
    plan.progress.validation_loss = 1.0
    with pytest.raises(KeyboardInterrupt):
        save(handler, {}, 4)
    assert set(names(tmp_path)) >= {"water_epoch-2.pt", "water_epoch-3.pt"}


@pytest.mark.parametrize("loss", [3.0, 4.0, float("nan")])
def test_a_worse_model_does_not_replace_a_better_one(tmp_path, plan, loss):
    save = with_complete_checkpoints(lambda: None, plan)
    plan.progress.lowest = {False: ("loss", 3.0)}
    plan.progress.validation_loss = loss
    save(Handler(tmp_path), {}, 5)
    assert names(tmp_path) == []
    plan.progress.lowest = {False: ("another loss", 3.0)}
    save(Handler(tmp_path), {}, 5)
    assert names(tmp_path) == ["water_epoch-5.pt"]


def test_models_are_compared_on_the_same_validation_frames_only(tmp_path):
    flags = ("--screening=uncoupled", "--valid_fraction=0.5", "--lr=0.01")
    write(tmp_path, frames(8))
    run(tmp_path, *flags, "--valid_batch_size=4", "--max_num_epochs=2")
    # MACE adds up the mean losses of the batches: four times the loss.
    run(tmp_path, *flags, "--valid_batch_size=1", "--max_num_epochs=4", "--restart_latest")
    assert checkpoints(tmp_path)[-1] == "water_run-1_epoch-3.pt"


def test_a_loss_that_is_no_number_is_beaten_by_any_other(plan):
    plan.progress.loss[False] = "loss"
    for loss, improves in ((math.nan, True), (5.0, True), (6.0, False), (4.0, True)):
        plan.progress.validation_loss = loss
        assert plan.progress.improves(is_stage_two=False) is improves


def test_the_optimizer_of_the_checkpoint_stays_and_the_log_says_so(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=1")
    run(tmp_path, *FLAGS, "--max_num_epochs=2", "--restart_latest", "--lr=0.5")
    assert "--lr stays 0.001, and 0.5 is not used" in log_of(tmp_path)
    with pytest.raises(UserError, match="--optimizer was adam and is now adamw"):
        run(tmp_path, *FLAGS, "--max_num_epochs=3", "--restart_latest", "--optimizer=adamw")
    run(tmp_path, *FLAGS, "--max_num_epochs=3", "--restart_latest", "--lbfgs")
    assert load_model(tmp_path / "water.model") is not None


def test_the_mean_number_of_neighbours_is_no_matter_of_the_frames_of_a_restart(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=1")
    before = mean_neighbors(load_model(tmp_path / "water.model"))
    more = frames(4)
    for atoms in more:
        atoms.positions[3:] += [3.0, 0.0, 0.0]
    write(tmp_path, more)
    run(tmp_path, *FLAGS, "--max_num_epochs=2", "--restart_latest")
    model = load_model(tmp_path / "water.model")
    assert mean_neighbors(model) == before
    head = model.charge_heads["born_effective_charges"]
    assert head.normalization == pytest.approx(before**-0.5)
    assert f"Average number of neighbors: {before}, of the checkpoint" in log_of(tmp_path)


def test_a_run_that_was_killed_after_its_last_epoch_repeats_it_as_it_was(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--max_num_epochs=3")
    whole = validation(tmp_path)[-1]
    path = tmp_path / "checkpoints" / "water_run-1_restart.pt"
    state = torch.load(path, weights_only=False)
    assert state["finished"]
    torch.save({**state, "finished": False}, path)
    assert checkpoints(tmp_path) == ["water_run-1_epoch-2.pt"]
    run(tmp_path, *FLAGS, "--max_num_epochs=3", "--restart_latest")
    again = validation(tmp_path)[-1]
    assert (again["epoch"], again["loss"]) == (2, pytest.approx(whole["loss"], rel=1e-12))


def test_restarts_keep_the_best_model(tmp_path):
    write(tmp_path, frames(4))
    opposite = frames(2)
    for atoms in opposite:
        atoms.arrays["REF_forces"] *= -1.0
    write(tmp_path, opposite, "valid.xyz")
    flags = (*FLAGS, f"--valid_file={tmp_path}/valid.xyz", "--lr=0.02", "--restart_latest")
    run(tmp_path, *flags, "--max_num_epochs=2")
    best = checkpoints(tmp_path)
    content = (tmp_path / "checkpoints" / best[0]).read_bytes()
    losses = [entry["loss"] for entry in validation(tmp_path)]
    assert losses[-1] > losses[1]  # what is learned makes the validation worse
    run(tmp_path, *flags, "--max_num_epochs=3")
    assert checkpoints(tmp_path) == best
    assert (tmp_path / "checkpoints" / best[0]).read_bytes() == content


def test_restart_file_continues_where_there_was_no_improvement(tmp_path):
    write(tmp_path, frames(4))
    flags = (*FLAGS, "--restart_latest", "--ema_decay=0.5")
    run(tmp_path, *flags, "--max_num_epochs=3")
    restart = tmp_path / "checkpoints" / "water_run-1_restart.pt"
    stored = torch.load(restart, weights_only=False)
    assert stored["epoch"] == 2  # the last epoch that was started
    assert stored["ema"]["num_updates"] == 2
    for path in (tmp_path / "checkpoints").glob("*epoch*.pt"):
        path.rename(path.with_name("water_run-1_epoch-0.pt"))  # as if nothing had improved since
    run(tmp_path, *flags, "--max_num_epochs=4")
    assert "Continuing at epoch 2 from" in log_of(tmp_path)
    assert [entry["epoch"] for entry in validation(tmp_path)][-3:] == [None, 2, 3]
    assert torch.load(restart, weights_only=False)["ema"]["num_updates"] == 3
    assert "Loaded Stage one model from epoch 3" in log_of(tmp_path)


def test_killed_run_is_continued_from_its_last_checkpoint(tmp_path):
    write(tmp_path, frames(4))
    command = [sys.executable, "-m", "mace_smile.cli.run_train", "--name=water", *SMALL, *FLAGS]
    command += [f"--train_file={tmp_path}/train.xyz", f"--work_dir={tmp_path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--max_num_epochs=1000"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(checkpoints(tmp_path)) == 0 or "epoch-0" in checkpoints(tmp_path)[-1]:
        assert process.poll() is None, "training ended early"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    epoch = max(int(name.split("-")[-1].removesuffix(".pt")) for name in checkpoints(tmp_path))
    before = {entry["epoch"]: entry["loss"] for entry in validation(tmp_path)}
    run(tmp_path, *FLAGS, f"--max_num_epochs={epoch + 3}", "--restart_latest")
    epochs = [entry["epoch"] for entry in validation(tmp_path)]
    restart = len(epochs) - epochs[::-1].index(None)
    assert epochs[restart] in (epoch, epoch + 1)  # the one it was killed in
    assert epochs[-1] == epoch + 2
    again = validation(tmp_path)[restart]
    if again["epoch"] in before:
        assert again["loss"] == pytest.approx(before[again["epoch"]], rel=1e-9)
    load_model(tmp_path / "water.model")


def test_errors_of_the_command_are_one_sentence_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "mace_smile.cli.run_train", "--name=water"]
    ended = subprocess.run(
        [*command, "--train_file=nowhere.xyz"], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: train_file 'nowhere.xyz'")
    assert "Traceback" not in ended.stderr
