"""Conductivities of the melt: Green-Kubo against Ohm's law, the model against the exact potential.

``python analyse.py FOLDER`` reads what ``run_md.py`` wrote, prints two tables and draws
``ionic_current.png``. The exit code is 1 when two conductivities differ by more than four times the
error of their difference.
"""

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

from mace_smile.analysis.conductivity import (
    SIEMENS_PER_METRE,
    GreenKubo,
    OhmsLaw,
    green_kubo,
    ohms_law,
)

mpl.use("Agg")
from matplotlib import pyplot as plt

CUTOFF = 450.0  # fs, where the integral of Green and Kubo has become flat
LARGEST_DIFFERENCE = 4.0  # errors
COLORS = {"model": "C0", "exact": "C1"}
LABELS = {"model": "trained model", "exact": "exact potential"}


@dataclass
class Results:
    """What the runs with one potential tell."""

    without_field: GreenKubo
    from_oxidation_numbers: GreenKubo
    in_fields: OhmsLaw
    temperatures: list[float]
    volume: float


def analyse(folder: Path, potential: str) -> Results:
    """Read the runs with one potential.

    :param potential: ``model`` or ``exact``.
    """
    runs = [np.load(path) for path in folder.glob(f"{potential}_*.npz")]
    runs.sort(key=lambda run: float(run["field"]))
    resting, *driven = runs
    volume = float(resting["volume"])
    settings = (float(resting["time_step"]), volume, float(resting["temperature"]), CUTOFF)
    return Results(
        without_field=green_kubo(resting["currents"], *settings),
        from_oxidation_numbers=green_kubo(resting["oxidation_currents"], *settings),
        in_fields=ohms_law(
            [float(run["field"]) for run in driven],
            [run["currents"][:, 0] for run in driven],
            volume,
        ),
        temperatures=[float(run["temperature"]) for run in runs],
        volume=volume,
    )


def print_currents(results: dict[str, Results]) -> None:
    """Print the mean current in each field, its heat, and the temperature."""
    print("potential   field (V/A)   current density (1e9 A/m^2)   heat (eV/ps)   temperature (K)")
    for potential, result in results.items():
        print(f"{potential:9} {0:13.3f} {'':27} {0:14.3f} {result.temperatures[0]:17.0f}")
        ohm = result.in_fields
        scale = SIEMENS_PER_METRE * 1e10 / result.volume * 1e-9  # V/A is 1e10 V/m
        for field, current, error, temperature in zip(
            ohm.fields, ohm.currents, ohm.current_errors, result.temperatures[1:], strict=True
        ):
            density = f"{scale * current:.0f} +- {scale * error:.0f}"
            heat = 1000 * field * current
            print(f"{potential:9} {field:13.3f} {density:>27} {heat:14.3f} {temperature:17.0f}")


def compare(results: dict[str, Results]) -> bool:
    """Print all conductivities and whether they agree."""
    values = {}
    for potential, result in results.items():
        for name, found in (
            ("Green-Kubo", result.without_field),
            ("Green-Kubo, oxidation numbers", result.from_oxidation_numbers),
            ("Ohm's law", result.in_fields),
        ):
            print(f"{potential:9} {name:31} {found.conductivity:6.0f} +- {found.error:.0f} S/m")
            if "oxidation" not in name:  # of the same run, so not independent
                values[f"{potential} {name}"] = (found.conductivity, found.error)
    agree = True
    for first, second in itertools.combinations(values, 2):
        difference = values[first][0] - values[second][0]
        error = np.hypot(values[first][1], values[second][1])
        agree &= bool(abs(difference) < LARGEST_DIFFERENCE * error)
        print(f"{first} - {second}: {difference:.0f} +- {error:.0f} S/m")
    return agree


def draw(results: dict[str, Results], path: Path) -> None:
    """Memory of the current, its integral, and the current in fields."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for potential, result in results.items():
        color, label = COLORS[potential], LABELS[potential]
        green, ohm = result.without_field, result.in_fields
        left.plot(green.times, green.correlation / green.correlation[0], color=color, label=label)
        middle.plot(green.times, green.running, color=color, label=label)
        middle.fill_between(
            green.times,
            green.running - green.running_error,
            green.running + green.running_error,
            color=color,
            alpha=0.25,
            lw=0,
        )
        scale = SIEMENS_PER_METRE * 1e10 / result.volume * 1e-9
        right.errorbar(
            ohm.fields,
            scale * ohm.currents,
            scale * ohm.current_errors,
            fmt="o",
            color=color,
            capsize=3,
            label=label,
        )
        ends = np.array([0.0, ohm.fields.max()])
        right.plot(ends, 10 * ohm.conductivity * ends, color=color)
        right.plot(ends, 10 * green.conductivity * ends, "--", color=color)
    left.axhline(0, color="0.8", lw=0.8, zorder=0)
    right.plot([], [], color="0.4", label="Ohm's law, fitted")
    right.plot([], [], "--", color="0.4", label="Green-Kubo, without field")
    left.set(xlabel="time (fs)", ylabel="memory of the current", title="Without field")
    middle.set(
        xlabel="end of the integral (fs)",
        ylabel="conductivity (S/m)",
        title="Without field: Green-Kubo",
    )
    right.set(
        xlabel="field (V/Å)",
        ylabel="current density ($10^9$ A/m$^2$)",
        title="In a field",
    )
    for axes, place in ((left, "upper right"), (middle, "lower right"), (right, "upper left")):
        axes.legend(fontsize="small", loc=place)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Analyse, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    results = {potential: analyse(folder, potential) for potential in ("model", "exact")}
    print_currents(results)
    agree = compare(results)
    draw(results, folder / "ionic_current.png")
    print(f"wrote {folder / 'ionic_current.png'}")
    sys.exit(int(not agree))


if __name__ == "__main__":
    main()
