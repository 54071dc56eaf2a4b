"""What DFT says of the scales of charge: three factors from frames of one geometry.

``python benchmarks/scales_of_charge.py`` takes the embedded water films, each geometry at several
charges Q of its two walls. Between two frames of one geometry all that changes is the response of
the electrons, so no model is needed:

- dipole: ``1 + chi = - gap dQ / d mu_z``, the factor from given charges to the dipole DFT reports;
  How linear it is, the dipoles of each geometry say: the largest deviation from a straight line;
- film: ``eps_film = (- dQ / eps0 A) / (d phi / dz)``, of the change of phi inside the film;
- energy: ``dE/dQ`` is the voltage between the walls. Charges on the scale of the response would
  give ``- (1 + chi) mu_z / eps0 A``, charges that are smaller by sqrt(1 + chi), all of them,
  ``- mu_z / eps0 A``. The factor of ``- mu_z / eps0 A`` is fitted, beside a constant and terms
  in Q and in the gap for the neon atoms themselves.

Errors are by bootstrap over MD runs. The last output is stored in ``scales_of_charge_output.txt``.
"""

import re
from itertools import combinations
from pathlib import Path

import ase.io
import numpy as np
from scipy.constants import e, epsilon_0

DATA = Path(__file__).parents[1] / "examples" / "data" / "slab_water"
VACUUM = epsilon_0 * 1e-10 / e  # eps0 in e / (V A)
SMALLEST_CHANGE = 0.02  # of Q in e: smaller ones have little signal
HALF_WIDTH = 3.0  # A around the middle of the film, where its slope is taken


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of frames of one geometry.

    :return: names of the MD runs; and for each pair dQ, Q, gap, d mu, mu, dE and the slope of
        d phi inside the film, where Q and mu are means of the pair, in e, A, eV and V.
    """
    frames = ase.io.read(DATA / "slab_water_train.xyz", ":")
    potential = np.load(DATA / "slab_water_train_potential.npz")
    height, profiles = potential["z"], potential["phi"].astype(float)
    runs, rows = [], []
    for first, second in combinations(range(len(frames)), 2):
        a, b = frames[first].info, frames[second].info
        change = b["wall_charge"] - a["wall_charge"]
        if a["geometry_id"] != b["geometry_id"] or abs(change) < SMALLEST_CHANGE:
            continue
        middle = frames[first].positions[frames[first].arrays["wall"] != 0, 2].mean()
        inside = np.abs(height - middle) < HALF_WIDTH
        slope = np.polyfit(height[inside], (profiles[second] - profiles[first])[inside], 1)[0]
        means = [(a[key] + b[key]) / 2 for key in ("wall_charge", "REF_dipole")]
        steps = [b[key] - a[key] for key in ("REF_dipole", "REF_energy")]
        runs.append(re.match(r"r\d+", a["geometry_id"]).group())
        dipoles = (steps[0][2], means[1][2])
        rows.append([change, means[0], a["wall_gap"], *dipoles, steps[1], slope])
    return np.array(runs), np.array(rows)


def factors(rows: np.ndarray, area: float) -> np.ndarray:
    """The three factors, from :func:`pairs`."""
    change, charge, gap, dipole_change, dipole, energy_change, slope = rows.T
    bare = -gap * change
    screening = (bare @ bare) / (bare @ dipole_change)
    film = np.mean(-change / (VACUUM * area) / slope)
    terms = np.column_stack([-dipole / (VACUUM * area), charge, gap, np.ones(len(rows))])
    energy = np.linalg.lstsq(terms, energy_change / change, rcond=None)[0][0]
    return np.array([screening, film, energy])


def largest_deviation() -> float:
    """Of dipoles along z from a straight line in Q through those of their geometry, in e A."""
    geometries: dict[str, list[tuple[float, float]]] = {}
    for atoms in ase.io.iread(DATA / "slab_water_train.xyz", ":"):
        point = (atoms.info["wall_charge"], atoms.info["REF_dipole"][2])
        geometries.setdefault(atoms.info["geometry_id"], []).append(point)
    deviations = [0.0]
    for points in geometries.values():
        if len(points) > 2:
            charges, dipoles = np.transpose(points)
            line = np.polyval(np.polyfit(charges, dipoles, 1), charges)
            deviations.append(np.abs(line - dipoles).max())
    return max(deviations)


def main() -> None:
    """Print the factors with their errors."""
    runs, rows = pairs()
    cell = ase.io.read(DATA / "slab_water_train.xyz", 0).cell
    area = np.linalg.norm(np.cross(cell[0], cell[1]))
    rng, names = np.random.default_rng(0), np.unique(runs)
    resampled = []
    for _ in range(1000):
        chosen = rng.choice(names, len(names))
        resampled.append(factors(np.concatenate([rows[runs == run] for run in chosen]), area))
    print(f"{len(rows)} pairs of frames of one geometry, {len(names)} MD runs")
    labels = ("dipole: 1 + chi", "film: eps_film", "energy: factor of mu_z / eps0 A")
    for label, value, error in zip(
        labels, factors(rows, area), np.std(resampled, axis=0), strict=True
    ):
        print(f"{label:<34}{value:7.3f} +- {error:.3f}")
    print(f"dipole: largest deviation from linear in Q {largest_deviation():.1e} e A")


if __name__ == "__main__":
    main()
