"""Drift of the total energy in NVE runs, in ASE, i-PI and LAMMPS.

``python benchmarks/engine_drift.py MODEL.pt FRAME.xyz --freeze Ne`` runs each engine without a
field at 0.5 fs from 300 K, and fits a straight line to the total energy after the first 10 percent;
with ``--engines ase lammps --field z07`` in a field, where the work of the field is taken away.
The model is exported in double precision. The last output is in ``engine_drift_output.txt``.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from engine_runs import ENGINES, Run, total_energies
from timing import print_header
from tqdm import tqdm

LIMIT = 0.1  # meV/atom/ps


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="file that mace_smile_export wrote")
    parser.add_argument("frame", type=Path, help="structure to start from (its last frame)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--steps", type=int, default=4000, help="number of steps (4000)")
    parser.add_argument("--time_step", type=float, default=0.5, help="in fs (0.5)")
    parser.add_argument("--field", metavar="NAME", help="field of the model; the enthalpy then")
    parser.add_argument("--freeze", nargs="*", default=[], help="elements that do not move")
    return parser.parse_args()


def drift(times: np.ndarray, energies: np.ndarray) -> tuple[float, float, float]:
    """Slope of a straight line, its error, and the scatter around it.

    :param times: in ps.
    :param energies: in meV/atom.
    :return: slope and error in meV/atom/ps, scatter in meV/atom. The error is from slopes of five
        blocks, since points beside each other are not independent.
    """
    slope, start = np.polyfit(times, energies, 1)
    scatter = float(np.std(energies - slope * times - start))
    blocks = [
        np.mean(energies[block] - slope * times[block])
        for block in np.array_split(np.arange(len(times)), 5)
    ]
    centres = [np.mean(block) for block in np.array_split(times, 5)]
    spread = np.std(blocks, ddof=2) / np.sqrt(np.sum((centres - np.mean(centres)) ** 2))
    return float(slope), float(spread), scatter


def main() -> None:
    """Run the engines and print the table."""
    arguments = parse_arguments()
    n_atoms = len(ase.io.read(arguments.frame))
    print_header("cpu", 1)
    length = arguments.steps * arguments.time_step / 1000
    field = "no field" if arguments.field is None else f"field {arguments.field}"
    print(
        f"# {n_atoms} atoms, NVE, {field}, {arguments.steps} steps of {arguments.time_step} fs: "
        f"{length} ps"
    )
    print(f"{'engine':8}{'slope, meV/atom/ps':>22}{'+-':>10}{'scatter, meV/atom':>20}", flush=True)
    is_flat = True
    for engine in arguments.engines:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(
                arguments.model,
                arguments.frame,
                Path(folder),
                arguments.steps,
                time_step=arguments.time_step,
                variant=arguments.field,
                frozen=arguments.freeze,
            )
            rows = list(
                tqdm(
                    total_energies(engine, run),
                    desc=engine,
                    total=arguments.steps // run.stride + 1,
                    mininterval=5,
                )
            )
        steps, energies = np.array(rows).T
        kept = steps >= 0.1 * arguments.steps
        times = steps[kept] * arguments.time_step / 1000
        slope, error, scatter = drift(times, 1000 * energies[kept] / n_atoms)
        is_flat &= abs(slope) < LIMIT
        print(f"{engine:8}{slope:22.5f}{error:10.5f}{scatter:20.5f}", flush=True)
    print(f"# allowed are {LIMIT} meV/atom/ps")
    if not is_flat:
        sys.exit(1)


if __name__ == "__main__":
    main()
