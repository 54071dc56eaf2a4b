"""The dipole of the film along z against the field in vacuum, in both engines.

``python figure.py FOLDER`` reads ``FOLDER/dipoles.xyz``, prints a table and draws ``film.png``. The
mean is over the second half of each run, its error from blocks of it. The exit code is 1 when the
dipole of an engine does not follow the field.
"""

import sys
from pathlib import Path

import ase.io
import matplotlib as mpl
import numpy as np
from ase import Atoms
from gather import ENGINES, FIELDS
from scipy import constants

from mace_smile.analysis.averages import block_error

mpl.use("Agg")
from matplotlib import pyplot as plt

BLOCKS = 4
SUSCEPTIBILITY = 0.41  # that of configs/demo.yaml
MOLECULE = 29.9  # A^3 of a molecule of water at 1 g/cm^3
#: In e/(V A).
VACUUM_PERMITTIVITY = constants.epsilon_0 * constants.angstrom / constants.e
LABELS = {"lammps": "LAMMPS", "ipi": "i-PI"}
COLORS = {"down": "C0", "none": "0.4", "up": "C3"}
STYLES = {"lammps": "-", "ipi": "--"}
OFFSETS = {"lammps": -0.002, "ipi": 0.002}  # V/A, so that points do not hide each other


def line(fields: np.ndarray, means: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Slope of a straight line through means with errors, and its error, in e A by V/A."""
    (slope, _), covariance = np.polyfit(fields, means, 1, w=1 / errors, cov="unscaled")
    return float(slope), float(np.sqrt(covariance[0, 0]))


def complete_screening(film: Atoms) -> float:
    """Dipole of the nuclei by the field in vacuum, when nothing of it is left in the film.

    A film of volume V has the dipole eps0 V E when there is no field inside. What electrons do in
    the field at fixed nuclei is no part of the dipole of the model: it is left with 1 / (1 + chi)
    of it. A guide for the eye: volume and chi of so thin a film are not sharp.

    :return: in e A by V/A.
    """
    volume = MOLECULE * np.count_nonzero(film.symbols == "O")
    return VACUUM_PERMITTIVITY * volume / (1 + SUSCEPTIBILITY)


def main() -> None:
    """Print the table, draw the figure."""
    folder = Path(sys.argv[1])
    frames = ase.io.read(folder / "dipoles.xyz", ":")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    print("field in vacuum (V/A)   engine   dipole along z (e A)")
    follows = True
    for engine in ENGINES:
        means, errors = [], []
        for name, field in FIELDS.items():
            run = [f for f in frames if f.info["engine"] == engine and f.info["field"] == name]
            dipoles = np.array([frame.info["MACE_macro_dipole"][2] for frame in run])
            times = [frame.info["time"] for frame in run]
            late = dipoles[len(dipoles) // 2 :]
            means.append(late.mean())
            errors.append(float(block_error(late, BLOCKS)))
            print(f"{field:21.2f}   {LABELS[engine]:6}   {means[-1]:.3f} +- {errors[-1]:.3f}")
            left.plot(times, dipoles, STYLES[engine], color=COLORS[name], lw=1)
        follows &= bool(np.all(np.diff(means) > 0))
        strengths = np.array(list(FIELDS.values()))
        slope, slope_error = line(strengths, np.array(means), np.array(errors))
        print(f"{LABELS[engine]}: {slope:.2f} +- {slope_error:.2f} e A by V/A")
        right.errorbar(
            strengths + OFFSETS[engine], means, errors, fmt="o", capsize=3, label=LABELS[engine]
        )
    limit = complete_screening(frames[0])
    print(f"complete screening: {limit:.2f} e A by V/A")
    right.plot(strengths, limit * strengths, color="0.6", lw=1, label="complete screening")
    right.legend(fontsize="small")
    right.set(xlabel="field in vacuum (V/Å)", ylabel="mean dipole along z (e Å)", xticks=strengths)
    for name, field in FIELDS.items():
        left.plot([], [], color=COLORS[name], label=f"{field:+.1f} V/Å")
    for engine in ENGINES:
        left.plot([], [], STYLES[engine], color="black", lw=1, label=LABELS[engine])
    left.legend(fontsize="small", ncols=2)
    left.set(xlabel="time (fs)", ylabel="dipole along z (e Å)", title="Water film, 300 K")
    figure.savefig(folder / "film.png", dpi=150)
    print(f"wrote {folder / 'film.png'}")
    sys.exit(int(not follows))


if __name__ == "__main__":
    main()
