"""Compare the charges of a model with those of the random point charges.

``python check.py MODEL FRAMES.xyz`` prints, for each species, the mean predicted charge and the
mean absolute error against +1 (Na) and -1 (Cl), after one overall sign: energies and forces do not
tell a set of charges from its opposite. The exit code is 1 when the error over all atoms exceeds
0.02 e.
"""

import argparse
import sys

import ase.io
import numpy as np
from generate import CHARGES

from mace_smile.calculator import SmileCalculator

LARGEST_ERROR = 0.02  # e


def main() -> None:
    """Predict, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="file that mace_smile_run_train wrote")
    parser.add_argument("frames", help="structures, best ones it has not seen")
    arguments = parser.parse_args()
    calculator = SmileCalculator(arguments.model)
    frames = ase.io.read(arguments.frames, ":")
    symbols = np.concatenate([atoms.get_chemical_symbols() for atoms in frames])
    true = np.array([CHARGES[name] for name in symbols])  # (n_atoms,), all frames
    predicted, force_errors = [], []
    for atoms in frames:
        calculator.calculate(atoms)
        predicted.append(calculator.results["charges"])
        force_errors.append(calculator.results["forces"] - atoms.arrays["REF_forces"])
    charges = np.concatenate(predicted)
    charges *= np.sign(np.sum(charges * true))
    for name in CHARGES:
        of_species = symbols == name
        error = np.abs(charges - true)[of_species].mean()
        print(
            f"{name}: mean charge {charges[of_species].mean():+.4f} e, "
            f"standard deviation {charges[of_species].std():.4f} e, MAE {error:.4f} e"
        )
    error = np.abs(charges - true).mean()
    force_error = np.sqrt(np.mean(np.concatenate(force_errors) ** 2))
    print(f"all: MAE {error:.4f} e (wanted: {LARGEST_ERROR}); force RMSE {force_error:.3f} eV/A")
    sys.exit(int(error > LARGEST_ERROR))


if __name__ == "__main__":
    main()
