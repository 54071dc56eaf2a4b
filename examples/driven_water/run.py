"""How much energy does water take from an oscillating field? i-PI's driven dynamics tells.

``python run.py MODEL.pt START.xyz`` runs the first cells of START.xyz without a field, with one
that shakes the molecules as they librate (20 THz), and with one in the gap between librations and
bending (35 THz), where water is transparent. i-PI's conserved quantity has no term of the field, so
it grows by the work of the field, nothing else. The run without a field from the same start is
subtracted.

From the power P the imaginary part of the dielectric function follows: with E cos(wt) inside the
cell of volume V, P = w eps0 eps'' E^2 V / 2.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np
from ase import units

import metatensor_models

AMPLITUDE = 0.2  # V/A
FREQUENCIES = (20.0, 35.0)  # THz
SKIPPED = 0.05  # ps, while the field is switched on
VACUUM_PERMITTIVITY = units._eps0 / units._e * 1e-10  # e/(V A)

HERE = Path(__file__).parent
DRIVER = Path(metatensor_models.__file__).with_name("ipi_driver.py")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="file that mace_smile_export wrote")
    parser.add_argument("start", type=Path, help="cells to start from")
    parser.add_argument("--cells", type=int, default=6, help="number of cells (6)")
    parser.add_argument("--steps", type=int, default=400, help="steps of 0.5 fs (400)")
    parser.add_argument("--output", type=Path, default=Path("output/driven_water"))
    return parser.parse_args()


def run_ipi(
    folder: Path, arguments: argparse.Namespace, amplitude: float, frequency: float
) -> tuple[np.ndarray, np.ndarray]:
    """Run all cells in one field.

    :return: times in ps, shape ``(n,)``, and conserved energies in eV, ``(cells, n)``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"cell{number}" for number in range(arguments.cells)]
    for name, atoms in zip(names, ase.io.read(arguments.start, f":{arguments.cells}"), strict=True):
        ase.io.write(folder / f"{name}.xyz", atoms)
    text = (HERE / "input.xml").read_text()
    for placeholder, value in (
        ("N_STEPS", arguments.steps),
        ("N_CELLS", arguments.cells),
        ("DRIVER", DRIVER),
        ("TEMPLATE", "cell0.xyz"),
        ("MODEL", arguments.model.absolute()),
        ("INSTANCES", "".join(f"<instance> [ {name}.xyz, {name} ] </instance>" for name in names)),
        ("AMPLITUDE", amplitude),
        ("FREQUENCY", frequency),
    ):
        text = text.replace(placeholder, str(value))
    (folder / "input.xml").write_text(text)
    program = shutil.which("i-pi", path=str(Path(sys.executable).parent)) or "i-pi"
    with (folder / "ipi.log").open("w") as log:
        done = subprocess.run([program, "input.xml"], cwd=folder, stdout=log, stderr=log)
    if done.returncode != 0:
        sys.exit(f"i-PI has failed; see {folder / 'ipi.log'}")
    tables = np.array([np.loadtxt(folder / f"{name}_driven.properties") for name in names])
    return 1e-3 * tables[0, :, 1], tables[:, :, 2]


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def main() -> None:
    """Run without a field and with two, print powers and eps'', draw the energies."""
    arguments = parse_arguments()
    cell = ase.io.read(arguments.start, 0)
    n_molecules = len(cell) // 3
    times, without = run_ipi(arguments.output / "no_field", arguments, 0.0, 0.0)
    drift, drift_error = mean_and_error(1e3 * (without[:, -1] - without[:, 0]) / n_molecules)
    print(f"no field: energy changes by {drift:.2f} +- {drift_error:.2f} meV a molecule")
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.axhline(0.0, color="black", linewidth=0.8, label="no field")
    used = times >= SKIPPED
    for frequency in FREQUENCIES:
        folder = arguments.output / f"{frequency:g}THz"
        _, energies = run_ipi(folder, arguments, AMPLITUDE, frequency)
        taken = 1e3 * (energies - energies[:, :1] - without + without[:, :1]) / n_molecules
        mean, error = mean_and_error(taken)
        axes.plot(times, mean, label=f"{frequency:g} THz")
        axes.fill_between(times, mean - error, mean + error, alpha=0.3)
        powers = np.array([np.polyfit(times[used], one[used], 1)[0] for one in taken])
        power, power_error = mean_and_error(powers)  # meV/ps a molecule
        scale = (
            1e-3
            * n_molecules
            / (np.pi * frequency * VACUUM_PERMITTIVITY * AMPLITUDE**2 * cell.get_volume())
        )
        print(
            f"{frequency:g} THz: {power:.0f} +- {power_error:.0f} meV/ps a molecule, "
            f"eps'' = {scale * power:.2f} +- {scale * power_error:.2f}"
        )
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("energy taken (meV a molecule)")
    axes.legend(frameon=False)
    figure.savefig(arguments.output / "driven_water.png", dpi=150)
    print(f"drew {arguments.output / 'driven_water.png'}")


if __name__ == "__main__":
    main()
