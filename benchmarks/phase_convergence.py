"""How Born effective charges by phases converge to exact ones with the width of the cell.

One molecule of water in a cubic cell of 3.1 A, repeated 1 to 7 times along each axis: Z by
``unfolded`` is the same in all of these cells, and differs from Z by ``phase`` by what the waves
leave out of the displacements. A network with random weights and a receptive field of 6 A; its
charges are scaled so that the sum of derivatives in Z has a root mean square of 0.3 e.

    python benchmarks/phase_convergence.py

writes docs/figures/phase_convergence.svg and prints the numbers.
"""

import warnings
from pathlib import Path

import ase
import ase.build
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from plain_mace import make_backbone
from water import make_batch

from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE

WIDTH = 3.1
CUTOFF = 3.0
LAYERS = 2
REPEATS = range(1, 8)
HARMONICS = (1, 2, 3)
DERIVATIVES = 0.3  # root mean square of the sum of derivatives, in e
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "phase_convergence.svg"


def crystal(repeat: int) -> ase.Atoms:
    """The repeated cell."""
    atoms = ase.build.molecule("H2O", cell=[WIDTH] * 3, pbc=True)
    atoms.euler_rotate(20.0, 50.0, 70.0)
    return atoms.repeat(repeat)


def derivatives(repeat: int, **options: object) -> np.ndarray:
    """The sum of derivatives in Z of the first molecule, shape ``(3, 3, 3)``."""
    torch.manual_seed(1)
    model = SmileMACE(
        make_backbone(8, 1, 2, CUTOFF),
        SmileOptions(
            screening="global", electrostatics="none", total_charge_constraint="none", **options
        ),
    )
    batch = make_batch([crystal(repeat)], CUTOFF, "cpu")
    output = model(batch, compute_force=False)
    own = output["response_charges"].detach()[:3, None, None] * torch.eye(3)
    return (output["born_effective_charges"][:3] - own).numpy()


def draw(widths: list[float], errors: dict[int, list[float]]) -> None:
    """Write the figure."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, values in errors.items():
        axes.loglog(widths, values, "o-", label=f"phase, {number} harmonic{'s'[: number - 1]}")
    axes.axvline(2 * LAYERS * CUTOFF, color="0.6", ls="--", lw=1)
    axes.text(2 * LAYERS * CUTOFF * 1.03, max(errors[1]), "2 R", color="0.4", va="top")
    axes.set(xlabel="Width of the cell (Å)", ylabel="Error of Z, root mean square (e)")
    axes.set_xticks(widths, [f"{width:.1f}" for width in widths], minor=False)
    axes.set_xticks([], minor=True)
    axes.legend(fontsize="small")
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    """Compute, print and draw."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    exact = derivatives(1)
    scale = DERIVATIVES / np.sqrt(np.mean(exact**2))
    widths = [repeat * WIDTH for repeat in REPEATS]
    errors: dict[int, list[float]] = {number: [] for number in HARMONICS}
    print("# width / A, largest difference of unfolded, errors with 1, 2, 3 harmonics / e")
    for repeat, width in zip(REPEATS, widths, strict=True):
        drift = scale * np.abs(derivatives(repeat) - exact).max()
        for number in HARMONICS:
            phases = derivatives(repeat, born_charge_method="phase", phase_harmonics=number)
            errors[number].append(float(scale * np.sqrt(np.mean((phases - exact) ** 2))))
        row = " ".join(f"{errors[number][-1]:.2e}" for number in HARMONICS)
        print(f"{width:5.1f} {drift:.1e} {row}", flush=True)
    draw(widths, errors)


if __name__ == "__main__":
    main()
