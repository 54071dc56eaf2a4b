"""Split the two embedded data sets into training, validation and test frames.

Frames of one MD run are alike, so a run stays on one side. Slab frames name their run in
``geometry_id`` (``r3_E-0.1_g12.0_s0`` is of run 3), clusters that they were cut from in ``md_run``.
The bulk cells ``b000``, ``b001`` ... are snapshots of runs of their own.

Run as ``python split.py OUTPUT_FOLDER``; it writes ``train.xyz``, ``valid.xyz``, ``test.xyz``, and
``start.xyz``: the first test slab with uncharged walls, from which molecular dynamics starts.
"""

import sys
from pathlib import Path

import ase.io
from ase import Atoms

DATA = Path(__file__).resolve().parent.parent / "data"
SLABS = DATA / "slab_water" / "slab_water_train.xyz"
WATER = DATA / "water_born_charges" / "water_born_charges_train.xyz"

VALID_RUNS = (3,)
TEST_RUNS = (9, 10)
VALID_CELLS = ("b002", "b116")
TEST_CELLS = ("b003", "b117", "b118", "b119")


def md_run(frame: Atoms) -> int | None:
    """Return the number of the MD run a frame comes from, None for the bulk cells."""
    if "geometry_id" in frame.info:
        return int(frame.info["geometry_id"].split("_")[0].removeprefix("r"))
    return frame.info.get("md_run")


def part_of(frame: Atoms) -> str:
    """Return the part of the split a frame belongs to: train, valid or test."""
    run = md_run(frame)
    if run in TEST_RUNS or frame.info.get("cluster_id") in TEST_CELLS:
        return "test"
    if run in VALID_RUNS or frame.info.get("cluster_id") in VALID_CELLS:
        return "valid"
    return "train"


def main() -> None:
    """Write the three files and say what is in them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    frames = ase.io.read(SLABS, ":") + ase.io.read(WATER, ":")
    for part in ("train", "valid", "test"):
        chosen = [frame for frame in frames if part_of(frame) == part]
        ase.io.write(folder / f"{part}.xyz", chosen, format="extxyz")
        slabs = sum("geometry_id" in frame.info for frame in chosen)
        cells = sum(bool(frame.pbc.all()) for frame in chosen)
        clusters = len(chosen) - slabs - cells
        print(f"{part}: {slabs} slabs, {clusters} clusters, {cells} bulk cells")
    uncharged = next(
        frame
        for frame in frames
        if part_of(frame) == "test" and frame.info.get("wall_charge") == 0.0
    )
    ase.io.write(folder / "start.xyz", uncharged, format="extxyz")


if __name__ == "__main__":
    main()
