"""Change of phi(z) between two electrode charges of one geometry, against DFT.

Learned charges do not change when a geometry is kept, so the change is that of the given charges
and of what screens them. For each screening the script prints the slope of the change inside the
film, the step across the slab and the whole curve against DFT, over all pairs of frames with one
geometry. No model is needed, and nothing is fitted: chi is that of the data, the film is that of
the atoms. Run as

    python benchmarks/potential_change.py

The last output is in potential_change_output.txt.
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np

from mace_smile.analysis.charges import slabs_of_arrays
from mace_smile.analysis.profile import compute_profile
from mace_smile.analysis.reference import place_reference, read_reference, rmse
from mace_smile.analysis.settings import SCREENINGS, ProfileSettings
from mace_smile.analysis.summary import fields_in_film
from mace_smile.physics.poisson import potential_step

DATA = Path(__file__).resolve().parent.parent / "examples" / "data" / "slab_water"
SUSCEPTIBILITY = 0.41
#: Smallest change of the wall charge in e between two frames of a pair.
SMALLEST_CHANGE = 0.03


def main() -> None:
    """Print one line a screening."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", default=str(DATA / "slab_water_train.xyz"))
    parser.add_argument("--reference", default=str(DATA / "slab_water_train_potential.npz"))
    parser.add_argument("--width", type=float, default=0.5, help="of both Gaussians, in A")
    args = parser.parse_args()

    frames = ase.io.read(args.configs, ":")
    names = [f"frame {number}" for number in range(len(frames))]
    slabs = slabs_of_arrays(frames, names, "core_correction", "wall", None)
    geometries = [atoms.info["geometry_id"] for atoms in frames]
    charges = np.array([atoms.info["wall_charge"] for atoms in frames])
    dipoles = np.array([atoms.info["REF_dipole"][2] for atoms in frames])
    pairs = np.array(
        [
            (i, j)
            for i in range(len(frames))
            for j in range(i)
            if geometries[i] == geometries[j] and abs(charges[i] - charges[j]) > SMALLEST_CHANGE
        ]
    )
    extent = (min(s.heights.min() for s in slabs), max(s.heights.max() for s in slabs))
    reference = read_reference(args.reference, len(frames))
    reference, counted = place_reference(reference, extent, slabs[0].cell_height, args.width)
    wanted = np.subtract(*(reference.potentials[pairs[:, k]] for k in (0, 1)))
    wanted_steps = potential_step(1.0, slabs[0].area) * np.subtract(*dipoles[pairs.T])

    n_geometries = len({geometries[first] for first in pairs[:, 0]})
    print(f"{len(pairs)} pairs of {n_geometries} geometries, chi {SUSCEPTIBILITY}")
    print("screening  eps_film  slope in film / DFT     step / DFT       RMSE of the change (mV)")
    print("                     mean    min    max      mean    std")
    for screening in SCREENINGS:
        chi = 0.0 if screening == "none" else SUSCEPTIBILITY
        settings = ProfileSettings(screening=screening, susceptibility=chi, width=args.width)
        profile = compute_profile(slabs, settings, reference.points)
        found = np.subtract(*(profile.potentials[pairs[:, k]] for k in (0, 1)))
        film = profile.film[pairs[:, 0]]
        slopes = fields_in_film(profile.points, found, film) / fields_in_film(
            profile.points, wanted, film
        )
        steps = np.subtract(*profile.steps[pairs.T]) / wanted_steps
        permittivity = f"{profile.permittivity:.3f}" if profile.permittivity else "-"
        print(
            f"{screening:9s}  {permittivity:8s}  {slopes.mean():5.3f}  {slopes.min():5.3f}  "
            f"{slopes.max():5.3f}    {steps.mean():5.3f}  {steps.std():5.3f}    "
            f"{1e3 * rmse(found[:, counted], wanted[:, counted]):6.1f}"
        )


if __name__ == "__main__":
    main()
