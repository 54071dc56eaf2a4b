"""A training run that is killed again and again, and restarted: nothing is lost but an epoch.

``python benchmarks/training_kills.py`` trains a tiny model through both stages with
``mace_smile_run_train``, kills it (SIGKILL) twenty times at random moments, from its start to
its end, and restarts it each time with ``--restart_latest``. It fails when a checkpoint cannot be
read after a kill, when more than the epoch after the last saved one has to be done again, when the
last restart does not finish, or when its losses are not those of a run that nobody killed. The
last output is in ``training_kills_output.txt``.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from timing import print_header
from water import write_frames

from mace_smile.model.files import load_model

FLAGS = (
    "--name=water --train_file=train.xyz --valid_fraction=0.25 --E0s={1:-1.0,8:-2.0} "
    "--num_channels=8 --max_L=1 --max_ell=1 --correlation=2 --r_max=3.0 --MLP_irreps=8x0e "
    "--radial_MLP=[16] "
    "--batch_size=4 --screening=uncoupled --ema --plot=False --pin_memory=False --seed=1 "
    "--restart_latest"
)
RESULTS = Path("results/water_run-1_train.txt")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often it is killed (20)")
    parser.add_argument("--epochs", type=int, default=100, help="of the whole run (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    return parser.parse_args()


def validations(folder: Path) -> list[dict]:
    """Errors of the epochs that have been validated, in the order of the results file."""
    if not (folder / RESULTS).exists():
        return []
    lines = (folder / RESULTS).read_text().splitlines(keepends=True)
    entries = [json.loads(line) for line in lines if line.endswith("}\n")]
    return [one for one in entries if one["mode"] == "eval" and one["epoch"] is not None]


def epochs_done(folder: Path) -> list[int]:
    """Their numbers."""
    return [entry["epoch"] for entry in validations(folder)]


def largest_difference(folder: Path, other: Path) -> float:
    """Of the validation losses of two runs, relative; epochs that were repeated count once."""
    losses, wanted = (
        {entry["epoch"]: entry["loss"] for entry in validations(one)} for one in (folder, other)
    )
    return max(abs(losses[epoch] / loss - 1.0) for epoch, loss in wanted.items())


def start(folder: Path, epochs: int) -> subprocess.Popen:
    """Start or restart the run; stage two begins after half of the epochs."""
    command = [sys.executable, "-m", "mace_smile.cli.run_train", *FLAGS.split()]
    command += [f"--max_num_epochs={epochs}", f"--start_swa={epochs // 2}", "--work_dir=."]
    with (folder / "run.log").open("a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)


def saved_epoch(folder: Path) -> int:
    """The epoch a restart begins with; every file must be readable.

    A checkpoint is written after its epoch, which is repeated; the restart file before its own.
    """
    epochs = [0]
    for path in (folder / "checkpoints").glob("water_*.pt"):
        content = torch.load(path, map_location="cpu", weights_only=False)
        name = path.stem.removesuffix("_swa").split("epoch-")
        epochs.append(int(name[1]) if len(name) == 2 else content["epoch"])
    for path in folder.glob("*.model"):
        if "_compiled" not in path.name:
            load_model(path)
    return max(epochs)


def run_until(folder: Path, epochs: int, wait: float, from_start: bool) -> bool:
    """Run, and kill the run some seconds after its start or after its first epoch.

    :return: whether it ended by itself before.
    """
    before = len(epochs_done(folder))
    process, begun = start(folder, epochs), time.monotonic()
    while process.poll() is None:
        if not from_start and len(epochs_done(folder)) == before:
            begun = time.monotonic()
        if time.monotonic() - begun > wait:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return False
        time.sleep(0.005)
    check_ended(folder, process.returncode)
    return True


def check_ended(folder: Path, code: int) -> None:
    """Show the log of a run that has failed."""
    if code != 0:
        sys.exit((folder / "run.log").read_text()[-3000:])


def main() -> None:
    """Kill, restart, count."""
    arguments = parse_arguments()
    print_header("cpu", torch.get_num_threads())
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder / "train.xyz", n_molecules=4, length=6.0)
        most = 0
        for number in range(1, arguments.kills + 1):
            before = len(epochs_done(folder))
            from_start = number % 5 == 0
            wait = rng.uniform(0.0, 8.0 if from_start else 2.0)
            has_ended = run_until(folder, arguments.epochs, wait, from_start)
            done, saved = epochs_done(folder), saved_epoch(folder)
            lost = max(done, default=-1) + 1 - saved
            most = max(most, lost)
            print(
                f"{'end ' if has_ended else 'kill'} {number:2d}, {wait:4.1f} s after its "
                f"{'start' if from_start else 'first epoch'}: epochs "
                f"{done[before] if len(done) > before else '-'} to {max(done, default='-')} done, "
                f"a restart begins with {saved}, to be done again: {lost}",
                flush=True,
            )
        check_ended(folder, start(folder, arguments.epochs).wait())
        load_model(folder / "water_stagetwo.model")
        missing = sorted(set(range(arguments.epochs)) - set(epochs_done(folder)))
        left = sorted(path.name for path in folder.rglob(".incomplete.*"))
        whole = folder / "whole"
        whole.mkdir()
        write_frames(whole / "train.xyz", n_molecules=4, length=6.0)
        check_ended(whole, start(whole, arguments.epochs).wait())
        difference = largest_difference(folder, whole)
    print(f"finished; epochs left out: {missing}; unfinished files: {left}")
    print(
        f"validation losses differ from those of a run without a kill by {difference:.1e} at most"
    )
    sys.exit(1 if missing or most > 1 or difference > 1e-6 else 0)


if __name__ == "__main__":
    main()
