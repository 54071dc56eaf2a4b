"""Gather the trajectories of both engines in one file, for the dipoles to be computed.

``python gather.py FOLDER STRIDE`` reads ``FOLDER/ENGINE_FIELD/trajectory.traj`` and writes
``FOLDER/trajectories.xyz``, a frame each STRIDE steps. Engines know nothing of the given charges of
the walls; they come from ``start.xyz``.
"""

import sys
from pathlib import Path

import ase.io
import numpy as np

ENGINES = ("lammps", "ipi")
TIME_STEP = 0.5  # fs, of both engines
FIELDS = {"down": -0.1, "none": 0.0, "up": 0.1}  # V/A in vacuum, along z


def main() -> None:
    """Read all trajectories and write one."""
    folder, stride = Path(sys.argv[1]), int(sys.argv[2])
    start = ase.io.read(folder / "start.xyz")
    gathered = []
    for engine in ENGINES:
        for name in FIELDS:
            for number, frame in enumerate(
                ase.io.read(folder / f"{engine}_{name}" / "trajectory.traj", ":")
            ):
                frame.calc = None
                for key in ("core_correction", "wall"):
                    frame.set_array(key, start.arrays[key])
                frame.info |= {"engine": engine, "field": name, "time": number * stride * TIME_STEP}
                gathered.append(frame)
    if not np.all([np.isfinite(frame.positions) for frame in gathered]):
        sys.exit("a trajectory has positions that are not finite")
    ase.io.write(folder / "trajectories.xyz", gathered, format="extxyz")
    print(f"trajectories.xyz: {len(gathered)} frames")


if __name__ == "__main__":
    main()
