"""What the electrostatics cost, and how accurate and smooth they are.

1. Cost of the sum with ``auto`` (energy and gradients, float64) from 162 to 118,098 atoms, each
   size in a process of its own, and the exponents of time and memory above 2,000 atoms.
2. The same against a plain Ewald sum over all k-vectors of the same wavelength.
3. Energy and forces of a SmileMACE with charges against those of a plain MACE of the same size,
   and a training step of both. They are timed in turn in one process.
4. Smoothness in the cell, left-handed cells, Madelung constants, slabs.

CPU seconds, so that other work on the machine matters little; with a GPU, seconds on the wall.

    python benchmarks/electrostatics.py [--short] [--device cuda] [--accuracy] [--threads 1]

``--short`` takes less than ten minutes: it times fewer pairs. The sum is timed with freed memory
kept for the next call, as the calculators and commands do (mace_smile.memory);
``--return_memory`` times it without.
``--accuracy`` runs long_range_accuracy.py, which trains models, at the end. The last output is in
electrostatics_output.txt.
"""

import argparse
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from coulomb_sum import (
    AMBIENT_LENGTH,
    CRYSTALS,
    cost_of_sum,
    handedness_error,
    largest_jump,
    madelung_error,
    plain_ewald,
    vacuum_error,
)
from plain_mace import evaluate, make_backbone, train_step
from timing import paired_times, print_header
from water import make_batch, water_cell

from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.physics.parameters import choose_parameters

HERE = Path(__file__).parent
#: Repeats of a cell of 162 atoms
REPEATS = [
    (1, 1, 1),
    (2, 2, 1),
    (2, 2, 2),
    (2, 2, 3),
    (3, 3, 3),
    (4, 4, 4),
    (5, 5, 5),
    (7, 7, 7),
    (9, 9, 9),
]
#: MACELES with its default wavelength of 2 A, milliseconds on one CPU thread by atoms
PEER_MILLISECONDS = {162: 1.5, 1296: 33.0, 4374: 674.0, 10368: 3787.0}
#: Smallest size in the fits of exponents
ASYMPTOTIC_ATOMS = 1900
METHODS = ("ewald", "p3m", "pme")


def exponent(sizes: list[int], values: list[float]) -> float:
    """Power with which values grow, by a fit to logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def print_cost_of_sum(args: argparse.Namespace) -> tuple[float, float]:
    """Table of the cost of the sum.

    :return: exponent of the time, and milliseconds at 10,368 atoms.
    """
    print("\n# 1. Cost of the sum, `auto`, float64: energy, gradients by positions and charges")
    print(f"{'atoms':>8} {'method':>7} {'ms':>9} {'us/atom':>8} {'bytes/atom':>11}  MACELES ms")
    rows = []
    for repeat in REPEATS:
        command = [sys.executable, str(HERE / "coulomb_sum.py"), "--device", args.device]
        command += ["--threads", str(args.threads), "--repeat", *map(str, repeat)]
        command += ["--return_memory"] if args.return_memory else []
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(run.stdout.splitlines()[-1])
        rows.append(row)
        atoms, milliseconds = row["atoms"], row["milliseconds"]
        print(
            f"{atoms:8d} {row['method']:>7} {milliseconds:9.2f} {1e3 * milliseconds / atoms:8.2f} "
            f"{row['bytes'] / atoms:11.0f}  {PEER_MILLISECONDS.get(atoms, '')}",
            flush=True,
        )
    large = [row for row in rows if row["atoms"] > ASYMPTOTIC_ATOMS]
    sizes = [row["atoms"] for row in large]
    power = exponent(sizes, [row["milliseconds"] for row in large])
    memory = exponent(sizes, [row["bytes"] for row in large])
    peers = [size for size in PEER_MILLISECONDS if size > 1000]
    peer = exponent(peers, [PEER_MILLISECONDS[size] for size in peers])
    print(f"exponent of time {power:.3f} (MACELES {peer:.2f}), of memory {memory:.3f}")
    return power, next(row["milliseconds"] for row in rows if row["atoms"] == 10368)


def print_plain_ewald(args: argparse.Namespace, milliseconds: float) -> None:
    """The sum of 10,368 atoms against all k-vectors, and the plain sum against ours."""
    parameters = choose_parameters()
    given = (parameters.lr_wavelength, parameters.smearing, args.device)
    small = water_cell(length=AMBIENT_LENGTH)
    energy, seconds = plain_ewald(small, *given)
    ours = cost_of_sum(small, "ewald", args.device, 5)
    share = 0.01 if args.short else 0.1
    _, many = plain_ewald(small.repeat(4), *given, share=share)
    print(f"\n# 2. Plain Ewald sum, all |k| <= 2 pi / {parameters.lr_wavelength:g} A")
    print(
        f"{len(small)} atoms: {1e3 * seconds:.1f} ms, ours {ours['milliseconds']:.1f} ms, "
        f"energy {energy:.6f} eV\n10368 atoms: {1e3 * many:.0f} ms (from {share:.0%} of the "
        f"k-vectors), ours {milliseconds:.0f} ms, ratio {milliseconds / many / 1e3:.5f}",
        flush=True,
    )


def print_cost_of_model(args: argparse.Namespace) -> dict[int, float]:
    """Energy and forces, and a training step, against plain MACE; ratios by number of atoms."""
    torch.set_default_dtype(getattr(torch, args.dtype))
    network = (args.channels, args.max_L, args.correlation, args.r_max)
    smile = SmileMACE(make_backbone(*network), SmileOptions())
    models = [make_backbone(*network).to(args.device), smile.to(args.device)]
    print(
        f"\n# 3. SmileMACE over plain MACE: {args.channels} channels, max_L {args.max_L}, "
        f"correlation {args.correlation}, r_max {args.r_max:g} A, {args.dtype}"
    )
    ratios = {}
    cell = water_cell(length=AMBIENT_LENGTH)
    for side, repeats in ((1, 40), (2, 10), (4, 3)):
        batch = make_batch([cell.repeat(side)], args.r_max, args.device)
        calls = [lambda model=model, b=batch: evaluate(model, b) for model in models]
        repeats = max(3, repeats // 2) if args.short else repeats
        seconds, (_, ratio) = paired_times(calls, repeats, args.device, warmup=min(repeats - 1, 2))
        atoms, edges = batch["positions"].shape[0], batch["edge_index"].shape[1]
        ratios[atoms] = ratio
        print(
            f"energy and forces, {atoms:6d} atoms, {edges:7d} edges: {seconds[0]:9.4f} s, "
            f"{seconds[1]:9.4f} s, ratio {ratio:.3f} (median of {repeats} pairs)",
            flush=True,
        )
    frames = [water_cell(22, 8.62, seed)[:64] for seed in range(16)]
    batch = make_batch(frames, args.r_max, args.device)
    calls = [lambda model=model: train_step(model, batch) for model in models]
    repeats = 5 if args.short else 15
    seconds, (_, ratio) = paired_times(calls, repeats, args.device)
    print(
        f"training step, 16 structures of 64 atoms, {batch['edge_index'].shape[1]} edges: "
        f"{seconds[0]:.4f} s, {seconds[1]:.4f} s, ratio {ratio:.3f} (median of {repeats} pairs)",
        flush=True,
    )
    torch.set_default_dtype(torch.float64)
    return ratios


def print_accuracy(device: str) -> None:
    """Smoothness in the cell, handedness, Madelung constants, vacuum of slabs."""
    print("\n# 4. Accuracy; 162 atoms of water with charges of -0.8 and 0.4 e")
    # At 12 A the strains cross a change of the k-vectors and of the meshes.
    lengths = (AMBIENT_LENGTH, 12.0)
    columns = [f"jump {length:g} A" for length in lengths] + ["left-handed", "vacuum doubled"]
    columns += [f"M({name})" for name, _ in CRYSTALS]
    print(f"{'':>6}" + "".join(f"{column:>16}" for column in columns))
    for method in METHODS:
        values = [largest_jump(method, length, device) for length in lengths]
        values += [handedness_error(method, device), vacuum_error(method, device)]
        values += [madelung_error(*crystal, method, device) for crystal in CRYSTALS]
        print(f"{method:>6}" + "".join(f"{value:16.1e}" for value in values), flush=True)
    print("jumps (200 strains within 1 percent) and left-handed cells in eV, others relative")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--return_memory", action="store_true")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--max_L", type=int, default=1)
    parser.add_argument("--correlation", type=int, default=2)
    parser.add_argument("--r_max", type=float, default=4.5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    torch.set_default_dtype(torch.float64)
    print_header(args.device, args.threads)
    power, milliseconds = print_cost_of_sum(args)
    print_plain_ewald(args, milliseconds)
    ratios = print_cost_of_model(args)
    print_accuracy(args.device)
    if args.accuracy:
        subprocess.run([sys.executable, str(HERE / "long_range_accuracy.py")], check=True)
    print(f"exponent {power:.3f} ratio_162 {ratios[162]:.3f} ratio_10368 {ratios[10368]:.3f}")


if __name__ == "__main__":
    main()
