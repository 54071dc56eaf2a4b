"""What charges and Born effective charges cost beside a plain MACE of the same size.

Both models are timed in turn in one process, so that the ratio holds on a machine whose speed
drifts. Prints the hardware, the versions, each time and one closing line with the ratios.

    python benchmarks/cost.py [--device cuda] [--channels 32] [--threads 1]

Its last output, for max_L 1 and 0, is in cost_output.txt.
"""

import argparse
import warnings

import torch
from plain_mace import evaluate, make_backbone, train_step
from timing import paired_times, print_header
from water import make_batch, water_cell

from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE

LABELS = ("born_effective_charges", "macro_dipole", "charges")


def main() -> None:
    """Time both models and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--max_L", type=int, default=1)
    parser.add_argument("--correlation", type=int, default=2)
    parser.add_argument("--r_max", type=float, default=3.5)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    torch.set_default_dtype(getattr(torch, args.dtype))

    atoms = water_cell()
    batch = make_batch([atoms], args.r_max, args.device)
    network = (args.channels, args.max_L, args.correlation, args.r_max)
    smile = SmileMACE(make_backbone(*network), SmileOptions(screening="uncoupled"))
    models = [make_backbone(*network).to(args.device), smile.to(args.device)]
    print_header(args.device, args.threads)
    print(
        f"# {len(atoms)} atoms, {batch['edge_index'].shape[1]} edges, {args.channels} channels, "
        f"max_L {args.max_L}, correlation {args.correlation}, {args.dtype}; "
        f"{'CPU seconds' if args.device == 'cpu' else 'seconds'}, median of {args.repeats} pairs"
    )
    results = {}
    for name, function in (
        ("training", lambda model: train_step(model, batch, LABELS)),
        ("evaluation", lambda model: evaluate(model, batch)),
    ):
        calls = [lambda model=model, f=function: f(model) for model in models]
        seconds, results[name] = paired_times(calls, args.repeats, args.device)
        print(f"{name:>10}: plain MACE {seconds[0]:.4f}  SmileMACE {seconds[1]:.4f}")
    print(f"ratio_training {results['training']:.3f} ratio_evaluation {results['evaluation']:.3f}")


if __name__ == "__main__":
    main()
