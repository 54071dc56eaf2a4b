"""Split the slab water set by MD run: six runs to train on, two nobody has seen.

One unseen geometry is also written at two charges of the walls, with its DFT potentials.
Usage: python split.py OUTPUT_DIRECTORY
"""

import re
import sys
from pathlib import Path

import ase.io
import numpy as np

DATA = Path(__file__).parents[1] / "data" / "slab_water" / "slab_water_train.xyz"
#: Runs without and with a field in the MD, so that the test spans small and large dipoles.
UNSEEN = ("r1_", "r7_")
#: An unseen geometry, and the charges of its lower wall in e.
GEOMETRY, CHARGES = "r1_E0.0_g12.0_s0", {"low": -0.0336, "high": 0.0672}

output = Path(sys.argv[1])
output.mkdir(parents=True, exist_ok=True)
frames = ase.io.read(DATA, ":")
runs = sorted({re.sub(r"_s\d+$", "", atoms.info["geometry_id"]) for atoms in frames})
test = [atoms for atoms in frames if atoms.info["geometry_id"].startswith(UNSEEN)]
train = [atoms for atoms in frames if not atoms.info["geometry_id"].startswith(UNSEEN)]
ase.io.write(output / "train.xyz", train)
ase.io.write(output / "test.xyz", test)
unseen = [run for run in runs if run.startswith(UNSEEN)]
print(f"{len(train)} frames of {len(runs) - len(unseen)} MD runs to train on")
print(f"{len(test)} frames of the runs {', '.join(unseen)} to test on")

potentials = np.load(DATA.with_name("slab_water_train_potential.npz"))
for name, charge in CHARGES.items():
    (number,) = [
        n
        for n, atoms in enumerate(frames)
        if atoms.info["geometry_id"] == GEOMETRY and abs(atoms.info["wall_charge"] - charge) < 1e-4
    ]
    ase.io.write(output / f"{name}.xyz", frames[number])
    np.savez(output / f"{name}_dft.npz", z=potentials["z"], phi=potentials["phi"][number])
