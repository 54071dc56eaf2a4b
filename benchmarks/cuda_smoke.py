"""Train, evaluate, export and run on a GPU, against the CPU.

``python benchmarks/cuda_smoke.py`` trains a tiny model for two epochs on ``cuda`` with
``mace_smile_run_train``, evaluates it on both devices with ``mace_smile_eval_configs``, exports it
with ``mace_smile_export``, and runs the calculator and the exported model in ASE on both: energies,
forces and Born charges must agree to the rounding of the precision. ``--enable_cueq`` trains with
cuEquivariance. Without CUDA it says so, and ends with code 2.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import units
from ase.md.verlet import VelocityVerlet
from metatomic_ase import MetatomicCalculator
from timing import print_header
from water import write_frames

from mace_smile.calculator import SmileCalculator

FLAGS = (
    "--name=water --train_file=train.xyz --valid_fraction=0.25 --E0s={1:-1.0,8:-2.0} "
    "--num_channels=16 --max_L=1 --correlation=2 --r_max=4.0 --batch_size=4 --screening=uncoupled "
    "--max_num_epochs=2 --ema --plot=False --seed=1"
)
#: Largest difference of the devices, in eV, eV/A and e.
TOLERANCES = {"float64": 1e-8, "float32": 2e-3}
STEPS = 20


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--enable_cueq", action="store_true", help="train with cuEquivariance")
    return parser.parse_args()


def call(folder: Path, module: str, *flags: str) -> None:
    """Run a command of the package, and say how long it took."""
    begin = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", f"mace_smile.cli.{module}", *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{module} failed: {done.stderr.strip().splitlines()[-1:]}")
    print(f"  {module:14s} {time.perf_counter() - begin:6.1f} s")


def run_in_ase(calculator: object, atoms: ase.Atoms) -> tuple[dict[str, np.ndarray], float]:
    """Results for one structure, and the seconds of a step of molecular dynamics from it."""
    atoms = atoms.copy()
    atoms.calc = calculator
    results = {"energy": np.array(atoms.get_potential_energy()), "forces": atoms.get_forces()}
    if isinstance(calculator, SmileCalculator):
        results["Born charges"] = calculator.results["born_effective_charges"]
    dynamics = VelocityVerlet(atoms, timestep=0.25 * units.fs)
    dynamics.run(2)  # the first steps compile
    begin = time.perf_counter()
    dynamics.run(STEPS)
    return results, (time.perf_counter() - begin) / STEPS


def compare(name: str, make: object, atoms: ase.Atoms, tolerance: float) -> bool:
    """Print the differences of the two devices, and tell whether they are small enough."""
    found = {device: run_in_ase(make(device), atoms) for device in ("cpu", "cuda")}
    agrees = True
    for key, value in found["cpu"][0].items():
        difference = float(np.abs(found["cuda"][0][key] - value).max())
        agrees &= difference <= tolerance
        print(f"  {name}, {key}: largest difference of cuda and cpu {difference:.1e}")
    times = {device: f"{1e3 * seconds:.1f} ms" for device, (_, seconds) in found.items()}
    print(f"  {name}: a step takes {times['cpu']} on cpu and {times['cuda']} on cuda")
    return agrees


def main() -> None:
    """Run both precisions."""
    args = parse_arguments()
    if not torch.cuda.is_available():
        print("error: torch finds no CUDA device; run this where there is one", file=sys.stderr)
        raise SystemExit(2)
    print_header("cuda", torch.get_num_threads())
    print(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    agrees = True
    for precision, tolerance in TOLERANCES.items():
        print(f"{precision}{', cuEquivariance' if args.enable_cueq else ''}:")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_frames(folder / "train.xyz", n_molecules=8, length=6.5)
            given = [*FLAGS.split(), f"--default_dtype={precision}", "--device=cuda"]
            call(folder, "run_train", *given, f"--enable_cueq={args.enable_cueq}")
            for device in ("cuda", "cpu"):
                files = ["--configs=train.xyz", f"--output={device}.xyz", "--model=water.model"]
                call(folder, "eval_configs", *files, f"--device={device}")
            call(folder, "export", "water.model", "--output=water.pt")
            atoms = ase.io.read(folder / "train.xyz", 0)
            agrees &= compare(
                "SmileCalculator",
                lambda device, path=folder / "water.model": SmileCalculator(path, device=device),
                atoms,
                tolerance,
            )
            agrees &= compare(
                "exported model",
                lambda device, path=folder / "water.pt": MetatomicCalculator(path, device=device),
                atoms,
                tolerance,
            )
    print("the devices agree" if agrees else "the devices do NOT agree")
    raise SystemExit(not agrees)


if __name__ == "__main__":
    main()
