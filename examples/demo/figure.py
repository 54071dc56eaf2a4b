"""Draw the figure of the demo: parity of dipoles and Born charges, and the dipole in a field.

Run as ``python figure.py FOLDER FIELD``; it writes ``FOLDER/demo.png``.
"""

import sys
from pathlib import Path

import ase.io
import matplotlib as mpl
import numpy as np
from ase import Atoms

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes


def parity(axes: Axes, groups: dict[str, tuple[np.ndarray, np.ndarray]], title: str) -> None:
    """Plot predictions against labels, one colour a group, with the RMSE in the legend."""
    for name, (label, prediction) in groups.items():
        rmse = np.sqrt(np.mean((prediction - label) ** 2))
        axes.plot(label, prediction, "o", ms=4, alpha=0.6, label=f"{name} (RMSE {rmse:.3f})")
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    line = [limits.min(), limits.max()]
    axes.plot(line, line, color="black", lw=0.8, zorder=0)
    axes.set(xlabel="DFT", ylabel="model", title=title, aspect="equal", xlim=line, ylim=line)
    axes.legend(fontsize="small")


def dipoles(frames: list[Atoms]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the labels and predictions of dipoles: z of slabs, all axes of clusters."""
    slabs = [frame for frame in frames if "geometry_id" in frame.info]
    clusters = [frame for frame in frames if not frame.pbc.any()]
    keys = ("REF_dipole", "MACE_macro_dipole")
    return {
        "slabs, z": tuple(np.array([frame.info[key][2] for frame in slabs]) for key in keys),
        "clusters": tuple(np.ravel([frame.info[key] for frame in clusters]) for key in keys),
    }


def born_charges(frames: list[Atoms]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the labels and predictions of Born charges, all nine components, by element."""
    labelled = [frame for frame in frames if "REF_becs" in frame.arrays]
    keys = ("REF_becs", "MACE_born_effective_charges")
    return {
        element: tuple(
            np.concatenate(
                [frame.arrays[key][frame.symbols == element].ravel() for frame in labelled]
            )
            for key in keys
        )
        for element in ("O", "H")
    }


def main() -> None:
    """Draw the three panels."""
    folder, field = Path(sys.argv[1]), sys.argv[2]
    frames = ase.io.read(folder / "test_predicted.xyz", ":")
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.5), layout="constrained")
    parity(left, dipoles(frames), "Dipole of test frames (e Å)")
    parity(middle, born_charges(frames), "Born effective charges of test frames (e)")
    for name, label, style in (
        ("ase_no_field", "ASE, no field", "-"),
        (f"ase_{field}", f"ASE, field {field}", "-"),
        (f"ipi_{field}", f"i-PI, field {field}", "--"),
    ):
        trajectory = ase.io.read(folder / f"{name}.xyz", ":")
        times = [frame.info["time"] for frame in trajectory]
        dipole = [frame.info["macro_dipole"][2] for frame in trajectory]
        right.plot(times, dipole, style, label=label)
    right.set(xlabel="time (fs)", ylabel="dipole along z (e Å)", title="Water film, NVE from 300 K")
    right.legend(fontsize="small")
    figure.savefig(folder / "demo.png", dpi=150)
    print(f"wrote {folder / 'demo.png'}")


if __name__ == "__main__":
    main()
