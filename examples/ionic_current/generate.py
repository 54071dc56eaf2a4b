"""Frames of molten NaCl with exact energies, forces and Born charges, to train on.

``python generate.py FOLDER`` runs molecular dynamics with the potential of ``in.exact`` and writes
``train.xyz`` and ``valid.xyz`` with ``REF_energy`` (eV), ``REF_forces`` (eV/A) and ``REF_becs``
(e), which are the charges of the ions times the unit matrix. Half of the frames are hotter than the
melt will be: a model that has seen close encounters survives them.
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from melt import CHARGES, advance, crystal, per_atom, start_lammps

TEMPERATURES = (1200.0, 2500.0)  # K
SPACING = 400.0  # fs, between frames
FRAMES = {"train": 18, "valid": 3}  # of each temperature


def labelled_frame(positions: np.ndarray, energy: float, forces: np.ndarray) -> Atoms:
    """A frame with its labels."""
    atoms = crystal()
    atoms.positions = positions
    charges = np.array([CHARGES[symbol] for symbol in atoms.symbols])
    atoms.info["REF_energy"] = energy
    atoms.arrays["REF_forces"] = forces
    atoms.arrays["REF_becs"] = np.outer(charges, np.eye(3).ravel())
    return atoms


def run(folder: Path, temperature: float, n_frames: int) -> list[Atoms]:
    """Run the exact potential and return frames."""
    lmp = start_lammps(folder, f"generate_{temperature:.0f}K", temperature, seed=1)
    frames = []
    for _ in range(n_frames):
        advance(lmp, SPACING)
        frames.append(labelled_frame(per_atom(lmp, "x"), lmp.get_thermo("pe"), per_atom(lmp, "f")))
    lmp.close()
    return frames


def main() -> None:
    """Write the frames of both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    runs = [run(folder, temperature, sum(FRAMES.values())) for temperature in TEMPERATURES]
    start = 0
    for part, n_frames in FRAMES.items():
        chosen = [atoms for frames in runs for atoms in frames[start : start + n_frames]]
        start += n_frames
        ase.io.write(folder / f"{part}.xyz", chosen)
        forces = np.concatenate([atoms.arrays["REF_forces"] for atoms in chosen])
        print(
            f"{part}.xyz: {len(chosen)} frames of {len(chosen[0])} ions, "
            f"root mean square force {np.sqrt(np.mean(forces**2)):.2f} eV/A"
        )


if __name__ == "__main__":
    main()
