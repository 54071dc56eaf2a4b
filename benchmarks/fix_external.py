"""What a step of LAMMPS through ``fix external`` costs beside the model itself.

The model gets its neighbour list ready made and gives energy and forces; a step of LAMMPS builds
the list, strains the cell for the virial, and moves the atoms. They take turns in one process, so
that ratios hold on a machine whose speed drifts.

    python benchmarks/fix_external.py [--device cuda] [--threads 1]

Its last output is in fix_external_output.txt.
"""

import argparse
import gc
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import ase
import torch
from export import run_exported
from metatomic.torch import load_atomistic_model
from plain_mace import make_backbone
from timing import paired_times, print_header
from water import water_cell

from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.export import build_atomistic_model
from metatensor_models.lammps import MetatomicLammps, write_lammps_data
from metatensor_models.options import ExportOptions

ELEMENTS = ["H", "O"]
#: Name, output of the model to compare with, arguments of ``attach_model``.
CASES = (
    ("no field", "energy", {}),
    ("variant", "energy/z05", {"variant": "z05"}),
    ("E(t), charges, Born", "energy/z05", {"field": "0, 0, 0.05*sin(t/10)"}),
)


def run_step(folder: Path, atoms: ase.Atoms, **arguments: object) -> Callable[[], None]:
    """A step of LAMMPS, in a run that has begun."""
    data = folder / "start.data"
    boundary = write_lammps_data(data, atoms, ELEMENTS)
    lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
    lmp.commands_string(
        f"units metal\natom_style atomic\n{boundary}\nread_data {data}\npair_style zero 6.0\n"
        "pair_coeff * *\nfix integrate all nve\ntimestep 1e-6\nthermo 1"
    )
    if "field" in arguments:
        arguments["per_atom"] = ["charge", "born"]
    lmp.attach_model(folder / "model.pt", ELEMENTS, **arguments)
    lmp.command("run 0 post no")
    return lambda: lmp.command("run 1 pre no post no")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--max_L", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--repeats", type=int, nargs=2, default=(30, 6))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    torch.set_default_dtype(getattr(torch, args.dtype))
    print_header(args.device, args.threads)
    print("# the exported model of the demo's size: energy and forces, neighbour list ready made")
    print(f"{args.dtype}  atoms  case                  model ms  LAMMPS step ms  ratio")
    backbone = make_backbone(args.channels, args.max_L, 2, 4.5)
    model = SmileMACE(backbone, SmileOptions(screening="uncoupled")).eval()
    options = ExportOptions(fields={"z05": (0.0, 0.0, 0.05)})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_atomistic_model(model, options).save(folder / "model.pt")
        exported = load_atomistic_model(folder / "model.pt").to(args.device)
        for repeat, repeats in zip((1, 2), args.repeats, strict=True):
            atoms = water_cell().repeat(repeat)
            for case, output, arguments in CASES:
                functions = [
                    run_exported(exported, atoms, output, False, args.device),
                    run_step(folder, atoms, **arguments, device=args.device),
                ]
                (own, other), (_, ratio) = paired_times(functions, repeats, args.device, warmup=6)
                print(
                    f"{args.dtype}  {len(atoms):5d}  {case:20s}  {own * 1e3:8.1f}  "
                    f"{other * 1e3:14.1f}  {ratio:5.2f}",
                    flush=True,
                )
                del functions
                gc.collect()  # what LAMMPS and its model hold


if __name__ == "__main__":
    main()
