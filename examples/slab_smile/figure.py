"""Compare SMILE, SMILE0 and partitioned charges on unseen MD runs, in numbers and one figure.

Usage: python figure.py DIRECTORY_WITH_THE_OUTPUT_OF_RUN_SH
"""

# %% What the commands have written
import json
import sys
from itertools import combinations
from pathlib import Path

import ase.io
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mace_smile.model.files import load_model

output = Path(sys.argv[1])
MODELS = {"SMILE": "slab_smile", "SMILE0": "slab_smile0", "Hirshfeld": "slab_hirshfeld"}
COLOURS = {"SMILE": "C0", "SMILE0": "C1", "Hirshfeld": "C2"}
predictions = {name: ase.io.read(output / f"{stem}_test.xyz", ":") for name, stem in MODELS.items()}
scan = json.loads((output / "slab_smile_scan.json").read_text())
figure, axes = plt.subplots(2, 2, figsize=(8.6, 7.0), layout="constrained")

# %% The dipole of the cell: only with the right chi does it follow the DFT one
dft = np.array([atoms.info["REF_dipole"][2] for atoms in predictions["SMILE"]])
geometries = [atoms.info["geometry_id"] for atoms in predictions["SMILE"]]
pairs = [(i, j) for i, j in combinations(range(len(dft)), 2) if geometries[i] == geometries[j]]


def compare(name, dipoles):
    """Print how dipoles along z follow those of DFT; return RMSE in e A and mean response."""
    rmse = np.sqrt(np.mean((dipoles - dft) ** 2))
    ratios = np.array([(dipoles[i] - dipoles[j]) / (dft[i] - dft[j]) for i, j in pairs])
    print(
        f"{name}: RMSE of mu_z on unseen runs {rmse:.3f} e A; change of mu_z between charges of "
        f"the walls {ratios.mean():.3f} times DFT (from {ratios.min():.3f} to {ratios.max():.3f}, "
        f"{len(pairs)} pairs of frames)"
    )
    return rmse, ratios.mean()


panel = axes[0, 0]
panel.plot([dft.min(), dft.max()], [dft.min(), dft.max()], color="0.7", lw=1)
for name, frames in predictions.items():
    predicted = np.array([atoms.info["MACE_macro_dipole"][2] for atoms in frames])
    rmse, response = compare(name, predicted)
    panel.plot(dft, predicted, "o", ms=4, color=COLOURS[name], label=f"{name}, RMSE {rmse:.3f}")
    if name == "SMILE":
        assert np.abs(response - 1.0) < 0.05, "the response is off by more than 5 percent"
# Not predicted but of each frame's own density, and of the walls too: what no model can do.
own = [atoms.arrays["REF_hirshfeld"] for atoms in predictions["Hirshfeld"]]
heights = [atoms.positions[:, 2] for atoms in predictions["Hirshfeld"]]
compare(
    "Hirshfeld charges of DFT itself, walls included",
    np.array([(q - q.mean()) @ z for q, z in zip(own, heights, strict=True)]),
)
panel.set_xlabel(r"DFT $\mu_z$ / e$\,$Å")
panel.set_ylabel(r"predicted $\mu_z$ / e$\,$Å")
panel.set_title("dipole of the cell, unseen MD runs")
panel.legend(frameon=False)

# %% The potential: what a change of the electrode charge does across the film
panel = axes[0, 1]
curves = {
    "SMILE, film": ("phi_smile", "C0", "-"),
    "SMILE, uniform": ("phi_uniform", "C0", ":"),
    "SMILE0": ("phi_smile0", "C1", "-"),
    "Hirshfeld": ("phi_hirshfeld", "C2", "--"),
}
for number, (name, (stem, colour, style)) in enumerate(curves.items()):
    profile = np.load(output / f"{stem}.npz")
    if number == 0:
        panel.plot(profile["z"], profile["phi_reference"], color="k", lw=2, label="DFT")
    panel.plot(profile["z"], profile["phi"], style, color=colour, label=name)
    inside = slice(*np.searchsorted(profile["z"], profile["film_edges"] + [3.0, -3.0]))
    slopes = [
        np.polyfit(profile["z"][inside], profile[key][inside], 1)[0]
        for key in ("phi", "phi_reference")
    ]
    print(
        f"{name}: slope of the change of phi(z) in the film {slopes[0] / slopes[1]:.2f} times DFT"
    )
panel.set_xlabel("z / Å")
panel.set_ylabel(r"$\Delta\phi(z)$ / V")
panel.set_title("change of potential with the wall charge")
panel.legend(frameon=False)

# %% The susceptibility: other values of chi cannot be mended by other charges
panel = axes[1, 0]
panel.errorbar(
    scan["susceptibilities"], scan["rmse"], scan["rmse_error"], fmt="o-", ms=4, label="SMILE model"
)
panel.plot(scan["susceptibilities"], scan["fixed_rmse"], "s--", ms=3, label="fixed charges")
minimum = scan["minimum"]
panel.axvspan(
    minimum["value"] - minimum["error"],
    minimum["value"] + minimum["error"],
    color="C3",
    alpha=0.3,
    label=rf"$\chi$ = {minimum['value']:.3f} ± {minimum['error']:.3f}",
)
panel.axvline(scan["pairs"]["susceptibility"], color="k", ls=":", label="from equal geometries")
panel.set_xlim(-0.05, 1.3)
panel.set_ylim(0.0, None)
panel.set_xlabel(r"susceptibility $\chi$")
panel.set_ylabel(r"cross-validated RMSE / e$\,$Å")
panel.set_title("RMSE of the dipole, whole MD runs left out")
panel.legend(frameon=False)

# %% Dipoles of the molecules: SMILE0 charges carry the screening, so they are too small
panel = axes[1, 1]
means = {}
for name in ("SMILE", "SMILE0"):
    scale = load_model(output / f"{MODELS[name]}.model").scale_value()
    magnitudes = []
    for atoms in predictions[name]:
        charges = scale * atoms.arrays["MACE_charges"]
        for oxygen in np.flatnonzero(atoms.numbers == 8):  # the order is O, H, H
            hydrogens = [oxygen + 1, oxygen + 2]
            bonds = atoms.get_distances(oxygen, hydrogens, mic=True, vector=True)
            dipole = charges[hydrogens] @ bonds + atoms.arrays["MACE_atomic_dipoles"][oxygen]
            magnitudes.append(np.linalg.norm(dipole))
    means[name] = np.mean(magnitudes)
    panel.hist(
        magnitudes,
        bins=20,
        density=True,
        histtype="step",
        color=COLOURS[name],
        label=rf"{name}, mean {means[name]:.3f} e$\,$Å",
    )
ratio = means["SMILE"] / means["SMILE0"]
print(
    f"mean dipole of a molecule: SMILE {means['SMILE']:.3f} e A "
    f"({4.80320 * means['SMILE']:.2f} D), SMILE0 {means['SMILE0']:.3f} e A; ratio {ratio:.2f}, "
    f"1 + chi {1.0 + scan['best']:.2f}"
)
panel.set_xlabel(r"dipole of a molecule / e$\,$Å")
panel.set_ylabel("density")
panel.set_title("molecular dipoles, unseen MD runs")
panel.legend(frameon=False)

figure.savefig(output / "slab_smile.png", dpi=200)
print(f"figure: {output / 'slab_smile.png'}")
