"""What Born effective charges cost beside a plain MACE of the same size: time and memory.

All models are timed in turn in one process, so that ratios hold on a machine whose speed drifts.
Each peak of memory is that of a process of its own, less what it held before the first call.
Prints the hardware, the versions and a row for each model.

    python benchmarks/born_charges.py [--device cuda] [--channels 32] [--threads 1]

Its last output is in born_charges_output.txt; evaluation there is that of --models uncoupled
"global phase 1" "local unfolded" "local phase 1".
"""

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from plain_mace import evaluate, make_backbone, train_step
from timing import paired_times, print_header
from water import make_batch, water_cell

from mace_smile.memory import keep_freed_memory
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE

LABELS = ("born_effective_charges", "macro_dipole", "charges")
METHODS = {
    "unfolded": {"born_charge_method": "unfolded"},
    **{f"phase {n}": {"born_charge_method": "phase", "phase_harmonics": n} for n in (1, 2, 3)},
}
#: Options of each model beside the plain MACE.
MODELS: dict[str, dict] = {
    "uncoupled": {"screening": "uncoupled"},
    **{
        f"{screening} {name}": {"screening": screening, **method}
        for screening in ("global", "local")
        for name, method in METHODS.items()
    },
}
PLAIN = "plain MACE"


def make_model(name: str, args: argparse.Namespace) -> torch.nn.Module:
    """One of the models, with the same random backbone in every call."""
    backbone = make_backbone(args.channels, args.max_L, args.correlation, args.r_max)
    if name == PLAIN:
        return backbone.to(args.device)
    return SmileMACE(backbone, SmileOptions(**MODELS[name])).to(args.device)


def water_batch(repeat: int, args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The cell of 162 atoms, repeated along each axis."""
    return make_batch([water_cell().repeat(repeat)], args.r_max, args.device)


def memory_in_use(field: str) -> float:
    """Resident memory of this process, now (``VmRSS``) or at most (``VmHWM``), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def print_peak(name: str, repeat: int, args: argparse.Namespace) -> None:
    """Memory that three evaluations take beyond the model and the batch, in MB."""
    model, batch = make_model(name, args), water_batch(repeat, args)
    Path("/proc/self/clear_refs").write_text("5")  # importing and compiling count no longer
    before = memory_in_use("VmRSS")
    for _ in range(3):  # TorchScript optimises a model after its first call
        evaluate(model, batch)
    print(memory_in_use("VmHWM") - before)


def peaks_of_processes(names: list[str], repeat: int) -> list[float]:
    """:func:`print_peak` of each model, in processes of their own."""
    return [
        float(
            subprocess.run(
                [sys.executable, *sys.argv, "--peak_of", name, "--repeat", str(repeat)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()[-1]
        )
        for name in names
    ]


def print_table(title: str, names: list[str], columns: dict[str, list[float]]) -> None:
    """A row for each model."""
    print(f"\n{title}\n{'':>16}" + "".join(f"{column:>20}" for column in columns))
    for row, name in enumerate(names):
        print(f"{name:>16}" + "".join(f"{values[row]:20.4g}" for values in columns.values()))
    sys.stdout.flush()


def print_evaluation(repeat: int, args: argparse.Namespace) -> None:
    """Energy, forces and all else the models have."""
    batch, names = water_batch(repeat, args), [PLAIN, *args.models]
    models = [make_model(name, args) for name in names]
    calls = [lambda model=model: evaluate(model, batch) for model in models]
    repeats = args.repeats if repeat == 1 else max(args.repeats // 3, 2)
    seconds, ratios = paired_times(calls, repeats, args.device)
    title = f"evaluation, {len(batch['positions'])} atoms"
    print_table(title, names, {"seconds": seconds, "ratio": ratios})
    if args.device == "cpu":
        peaks = peaks_of_processes(names, repeat)
        ratios = [peak / peaks[0] for peak in peaks]
        print_table(f"{title}, memory", names, {"MB": peaks, "ratio": ratios})


def print_training(args: argparse.Namespace) -> None:
    """A step with all labels for our models, with energies and forces for the plain MACE."""
    batch, names = water_batch(1, args), [PLAIN, *args.models]
    models = [make_model(name, args) for name in names]
    calls = [lambda model=model: train_step(model, batch, LABELS) for model in models]
    seconds, ratios = paired_times(calls, max(args.repeats // 3, 2), args.device)
    print_table(
        f"training step, {len(batch['positions'])} atoms",
        names,
        {"seconds": seconds, "ratio": ratios},
    )


def main() -> None:
    """Time all models and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--max_L", type=int, default=1)
    parser.add_argument("--correlation", type=int, default=2)
    parser.add_argument("--r_max", type=float, default=3.5)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--cells", type=int, nargs="*", default=[1, 2], help="cells to evaluate")
    parser.add_argument("--no_training", action="store_true")
    parser.add_argument("--peak_of", help="print the peak of memory of this model alone")
    parser.add_argument("--repeat", type=int, default=1, help="of the cell, for --peak_of")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    torch.set_default_dtype(getattr(torch, args.dtype))
    keep_freed_memory()  # as the calculators do
    if args.peak_of:
        print_peak(args.peak_of, args.repeat, args)
        return
    print_header(args.device, args.threads)
    print(
        f"# {args.channels} channels, max_L {args.max_L}, correlation {args.correlation}, cutoff "
        f"{args.r_max} A, {args.dtype}; {'CPU seconds' if args.device == 'cpu' else 'seconds'}"
    )
    if not args.no_training:
        print_training(args)
    for repeat in args.cells:
        print_evaluation(repeat, args)


if __name__ == "__main__":
    main()
