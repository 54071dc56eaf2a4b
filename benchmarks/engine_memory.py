"""Resident memory of NVT runs of 5,000 steps, in ASE, i-PI and LAMMPS: flat after the first 500.

``python benchmarks/engine_memory.py`` runs a small model and reads the resident memory of each
process (i-PI and its driver are two) whenever 100 steps more are done. It fails when the mean of
the last tenth of the run is more than one percent above that from step 500 to 1000. The last output
is in ``engine_memory_output.txt``.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from engine_nvt import TABLE
from engine_resume import last_step, start
from soft_spheres import write_soft_spheres
from timing import print_header
from tqdm import tqdm

LIMIT = 0.01
STRIDE = 100  # steps between samples
MEGABYTE = 2**20


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=TABLE, default=list(TABLE))
    parser.add_argument("--steps", type=int, default=5000, help="number of steps (5000)")
    parser.add_argument("--restarts", type=int, default=500, help="steps between restarts (500)")
    return parser.parse_args()


def memory_of_session(session: int) -> dict[str, float]:
    """Resident memory in MB of each process of a session, by the name of its program."""
    memory = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) != session:
                continue
            words = (folder / "cmdline").read_text().split("\0")
            pages = int((folder / "statm").read_text().split()[1])
        except (OSError, IndexError):  # it has ended
            continue
        program = Path(words[1] if len(words) > 1 else words[0]).name
        memory[program] = pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
    return memory


def sample(engine: str, files: tuple[Path, Path], folder: Path, arguments) -> dict[str, np.ndarray]:
    """Run to the end; steps and memory in MB of each process, shape ``(n_samples, 2)``."""
    samples: dict[str, list[tuple[int, float]]] = defaultdict(list)
    process = start(engine, files, folder, arguments)
    next_step = STRIDE
    try:
        with tqdm(total=arguments.steps, desc=engine, mininterval=5) as bar:
            while process.poll() is None:
                step = last_step(folder / TABLE[engine])
                bar.update(step - bar.n)
                if next_step <= step < arguments.steps:
                    for program, size in memory_of_session(process.pid).items():
                        samples[program].append((step, size))
                    next_step = step + STRIDE
                time.sleep(0.1)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        sys.exit(f"{engine} has failed; see {folder / 'run.log'}")
    return {program: np.array(rows) for program, rows in samples.items()}


def main() -> None:
    """Run all engines and print the table."""
    arguments = parse_arguments()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    print_header("cpu", 1)
    print(f"# {arguments.steps} steps; resident memory in MB: steps 500 to 1000, last tenth")
    print(f"{'engine':8}{'process':22}{'before':>10}{'after':>10}{'growth':>10}", flush=True)
    is_flat = True
    with tempfile.TemporaryDirectory() as name:
        files = write_soft_spheres(Path(name))
        for engine in arguments.engines:
            for program, rows in sample(engine, files, Path(name) / engine, arguments).items():
                steps, sizes = rows.T
                before = sizes[(steps >= 500) & (steps <= 1000)].mean()
                after = sizes[steps >= 0.9 * arguments.steps].mean()
                growth = after / before - 1
                is_flat &= growth < LIMIT
                print(
                    f"{engine:8}{program:22}{before:10.1f}{after:10.1f}{growth:10.2%}", flush=True
                )
    print(f"# allowed are {LIMIT:.0%}")
    if not is_flat:
        sys.exit(1)


if __name__ == "__main__":
    main()
