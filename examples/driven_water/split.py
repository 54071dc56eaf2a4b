"""Split the embedded water: every sixth frame for validation, the rest for training.

Run as ``python split.py FOLDER``; it writes ``train.xyz``, ``valid.xyz``, and ``start.xyz`` with
the bulk cells, without labels, from which molecular dynamics starts.
"""

import sys
from pathlib import Path

import ase
import ase.io

DATA = Path(__file__).resolve().parent.parent / "data" / "water_born_charges"
VALID_STRIDE = 6


def main() -> None:
    """Write the three files."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    frames = ase.io.read(DATA / "water_born_charges_train.xyz", ":")
    valid = frames[VALID_STRIDE - 1 :: VALID_STRIDE]
    train = [frame for number, frame in enumerate(frames, 1) if number % VALID_STRIDE != 0]
    cells = [
        ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        for frame in frames
        if frame.pbc.all()
    ]
    for name, chosen in (("train", train), ("valid", valid), ("start", cells)):
        ase.io.write(folder / f"{name}.xyz", chosen, format="extxyz")
        print(f"{name}.xyz: {len(chosen)} frames")


if __name__ == "__main__":
    main()
