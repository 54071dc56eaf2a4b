"""Currents of molten NaCl in LAMMPS, without a field or in fields along x.

``python run_md.py FOLDER --fields 0 --model nacl.pt`` writes ``model_0.npz``: the current every
9 fs, out of the Born effective charges of the model and out of the oxidation numbers of the ions.
Without ``--model`` the exact potential runs, and the file is ``exact_0.npz``.
"""

import argparse
from pathlib import Path

import numpy as np
from melt import CHARGES, ELEMENTS, TIME_STEP, advance, crystal, per_atom, start_lammps

from mace_smile.analysis.conductivity import ionic_current
from metatensor_models.lammps import MetatomicLammps

TEMPERATURE = 1200.0  # K
STRIDE = 3  # steps between currents
STEADY = 1500.0  # fs until the current in a field is steady


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where files go")
    parser.add_argument("--model", help="exported model; the exact potential without")
    parser.add_argument("--fields", type=float, nargs="+", default=[0.0], help="in V/A, along x")
    parser.add_argument("--time", type=float, default=12000.0, help="of each run, in fs (12000)")
    return parser.parse_args()


def apply_field(lmp: MetatomicLammps, model: str | None, field: float) -> None:
    """Let the model, or the exact potential, act on the melt in a field."""
    if model is None:
        lmp.command(f"fix field all efield {field} 0 0")
        return
    lmp.commands_string("kspace_style none\npair_style zero 5.0\npair_coeff * *")
    lmp.attach_model(model, ELEMENTS, field=f"{field}, 0, 0", per_atom=["born"])


def born_charges(lmp: MetatomicLammps, model: str | None) -> np.ndarray:
    """Born effective charges of this step, shape ``(n_atoms, 3, 3)``, in e."""
    if model is None:
        return oxidation_numbers()
    return per_atom(lmp, "d2_born").reshape(-1, 3, 3)


def oxidation_numbers() -> np.ndarray:
    """+1 and -1 times the unit matrix, shape ``(n_atoms, 3, 3)``, in e."""
    charges = np.array([CHARGES[symbol] for symbol in crystal().symbols])
    return charges[:, None, None] * np.eye(3)


def run(arguments: argparse.Namespace, field: float, seed: int) -> None:
    """One run in one field."""
    name = f"{'exact' if arguments.model is None else 'model'}_{field:g}"
    lmp = start_lammps(arguments.folder, name, TEMPERATURE, seed)
    apply_field(lmp, arguments.model, field)
    advance(lmp, STEADY)
    oxidation = oxidation_numbers()
    currents, of_oxidation_numbers, temperatures = [], [], []
    for _ in range(round(arguments.time / (STRIDE * TIME_STEP))):
        lmp.command(f"run {STRIDE} pre no post no")
        velocities = per_atom(lmp, "v") / 1000  # from A/ps to A/fs
        currents.append(ionic_current(born_charges(lmp, arguments.model), velocities))
        of_oxidation_numbers.append(ionic_current(oxidation, velocities))
        temperatures.append(lmp.get_thermo("temp"))
    np.savez(
        arguments.folder / f"{name}.npz",
        field=field,
        currents=currents,
        oxidation_currents=of_oxidation_numbers,
        temperature=np.mean(temperatures),
        time_step=STRIDE * TIME_STEP,
        volume=crystal().get_volume(),
    )
    print(f"{name}: {arguments.time / 1000:g} ps, mean temperature {np.mean(temperatures):.0f} K")
    lmp.close()


def main() -> None:
    """Run all fields, one after the other."""
    arguments = parse_arguments()
    for number, field in enumerate(arguments.fields):
        run(arguments, field, seed=100 + number)


if __name__ == "__main__":
    main()
