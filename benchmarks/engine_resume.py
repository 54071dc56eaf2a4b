"""NVT runs that are killed and resumed, in ASE, i-PI and LAMMPS: nothing lost, nothing doubled.

``python benchmarks/engine_resume.py`` runs 20 ps of a small model at 300 K in each engine
twice: once without a stop, and once killed (SIGKILL to all its processes) five times at random
moments and resumed from the last restart, its files cut back first. It fails when a step is missing
or there twice, or when mean temperature or energy differ by more than four standard errors. The
last output is in ``engine_resume_output.txt``.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from engine_nvt import FRAMES, STRIDE, TABLE, TRAJECTORY, read_table
from soft_spheres import write_soft_spheres
from timing import print_header
from tqdm import tqdm

from mace_smile.errors import UserError
from mace_smile.io.trajectory_cut import scan

SCRIPT = Path(__file__).with_name("engine_nvt.py")
LIMIT = 4.0  # standard errors
N_BLOCKS = 20


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=TABLE, default=list(TABLE))
    parser.add_argument("--steps", type=int, default=5000, help="of 4 fs (5000: 20 ps)")
    parser.add_argument("--kills", type=int, default=5, help="how often it is killed (5)")
    parser.add_argument("--restarts", type=int, default=500, help="steps between restarts (500)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--skip_whole", action="store_true", help="no run without a stop")
    return parser.parse_args()


def last_step(path: Path) -> int:
    """The step of the last frame or row that is complete, 0 where there is none."""
    try:
        return scan(path).frames[-1].step
    except (UserError, IndexError):  # nothing is written yet
        return 0


def start(engine: str, files: tuple[Path, Path], folder: Path, arguments: argparse.Namespace):
    """Start the run in a session of its own, so that all its processes can be killed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SCRIPT), engine, *map(str, files), str(folder)]
    command += ["--steps", str(arguments.steps), "--restarts", str(arguments.restarts)]
    with (folder / "run.log").open("a") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def run_with_kills(
    engine: str, files: tuple[Path, Path], folder: Path, kills: list[int], settings
) -> list[int]:
    """Run to the end, killing all processes when the table has passed certain steps.

    :return: the last step of the table at each kill.
    """
    table, killed = folder / TABLE[engine], []
    waits = np.random.default_rng(settings.seed).uniform(0, 0.3, len(kills))
    targets = [*zip(kills, waits, strict=True), (None, 0.0)]
    with tqdm(total=settings.steps, desc=f"{engine}, {len(kills)} kills", mininterval=5) as bar:
        for target, wait in targets:
            process = start(engine, files, folder, settings)
            while process.poll() is None:
                step = last_step(table)
                bar.update(step - bar.n)
                if target is not None and step >= target:
                    time.sleep(wait)
                    killed.append(last_step(table))
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    break
                time.sleep(0.1)
            else:
                if process.returncode != 0 or target is not None:
                    sys.exit(f"{engine} has ended by itself; see {folder / 'run.log'}")
        bar.update(last_step(table) - bar.n)
    return killed


def count_steps(path: Path, stride: int, steps: int) -> tuple[int, int, int]:
    """Frames of a file, and how many are missing and doubled."""
    found = [frame.step for frame in scan(path).frames]
    wanted = set(range(0, steps + 1, stride))
    return len(found), len(wanted - set(found)), len(found) - len(set(found))


def report_files(engine: str, folder: Path, steps: int) -> bool:
    """Print what was lost and doubled; whether nothing was."""
    strides = {TRAJECTORY[engine]: FRAMES} | {TABLE[engine]: STRIDE}
    is_right = True
    for name, stride in strides.items():
        n_frames, n_lost, n_doubled = count_steps(folder / name, stride, steps)
        print(f"  {name}: {n_frames} frames, {n_lost} lost, {n_doubled} doubled")
        is_right &= n_lost == n_doubled == 0
    return is_right


def report_means(engine: str, folder: Path, steps: int) -> list[tuple[float, float]]:
    """Print and return mean temperature in K and potential energy in meV, with their errors."""
    rows = read_table(folder, engine)
    rows = rows[rows[:, 0] >= 0.05 * steps]
    means = [mean_and_error(rows[:, 1]), mean_and_error(1000 * rows[:, 2])]
    (temperature, error), (energy, energy_error) = means
    print(
        f"  temperature {temperature:.1f} +- {error:.1f} K, potential energy {energy:.2f} +- "
        f"{energy_error:.2f} meV",
        flush=True,
    )
    return means


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean, and its standard error from block averages."""
    n_blocks = min(N_BLOCKS, len(values))
    blocks = [block.mean() for block in np.array_split(values, n_blocks)]
    return float(values.mean()), float(np.std(blocks, ddof=1) / np.sqrt(n_blocks))


def main() -> None:
    """Run all engines and print what was found."""
    arguments = parse_arguments()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    print_header("cpu", 1)
    is_right = True
    with tempfile.TemporaryDirectory() as name:
        files = write_soft_spheres(Path(name))
        moments = np.random.default_rng(arguments.seed)
        for engine in arguments.engines:
            kills = sorted(moments.integers(1, 0.9 * arguments.steps, arguments.kills).tolist())
            means = []
            for run, targets in {"whole": [], "killed": kills}.items():
                if run == "whole" and arguments.skip_whole:
                    continue
                own = Path(name) / f"{engine}_{run}"
                killed = run_with_kills(engine, files, own, targets, arguments)
                print(f"{engine}, {run} run of {arguments.steps} steps, killed at {killed}")
                is_right &= report_files(engine, own, arguments.steps)
                means.append(report_means(engine, own, arguments.steps))
            if arguments.skip_whole:
                continue
            for (first, error), (second, other) in zip(*means, strict=True):
                is_right &= abs(first - second) <= LIMIT * np.hypot(error, other)
    means_too = "" if arguments.skip_whole else ", same means"
    print(f"nothing lost, nothing doubled{means_too}" if is_right else "FAILED")
    if not is_right:
        sys.exit(1)


if __name__ == "__main__":
    main()
