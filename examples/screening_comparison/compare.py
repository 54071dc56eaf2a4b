"""One table of Born effective charges: one factor, a factor of each atom, or a head of their own.

    python examples/screening_comparison/compare.py [--sets FILE ...] [--work_dir FOLDER]

Each file of ``--sets`` is a set of frames with energies, forces and Born charges (``REF_energy``,
``REF_forces``, ``REF_becs``, field index first); without it the embedded set is taken, clusters and
bulk cells together. The frames of each set, and its open and periodic frames apart, are split at
random, MD runs as a whole (``md_run`` in the headers, or ``--group_key``). Three models of one
network are trained on all sets together:

- ``global``: energies and forces alone; ``mace_smile_fit_screening`` then fits one factor to the
  Born charges of the frames that were trained on;
- ``local`` and ``uncoupled``: energies, forces and Born charges together.

The table has their errors on frames that none of them has seen. A model that is there already is
not trained again, so the command can be interrupted and repeated.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

HERE = Path(__file__).resolve().parent
EMBEDDED = HERE.parent / "data" / "water_born_charges" / "water_born_charges_train.xyz"
BORN_WEIGHT = "100"
FLAGS = {
    "global": ["--screening_value", "1.0", "--born_effective_charges_weight", "0"],
    "local": ["--becs_key", "REF_becs", "--born_effective_charges_weight", BORN_WEIGHT],
    "uncoupled": ["--becs_key", "REF_becs", "--born_effective_charges_weight", BORN_WEIGHT],
}


def with_own_zero(frames: list[Atoms]) -> list[Atoms]:
    """Frames with energies and labels that count; energies less a sum over elements.

    Codes and functionals differ in their zero of energy, and one network has one. The sum is the
    least-squares fit to the set.
    """
    elements = sorted({int(number) for frame in frames for number in frame.numbers})
    counts = np.array([[np.sum(frame.numbers == z) for z in elements] for frame in frames])
    energies = np.array([frame.info["REF_energy"] for frame in frames])
    relative = energies - counts @ np.linalg.lstsq(counts, energies, rcond=None)[0]
    result = []
    for frame, energy in zip(frames, relative, strict=True):
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.info["REF_energy"] = float(energy)
        for key in ("REF_forces", "REF_becs"):
            atoms.arrays[key] = frame.arrays[key]
        result.append(atoms)
    return result


def split(paths: list[Path], folder: Path, group_key: str, seed: int) -> None:
    """Write train, valid and unseen frames: 70, 10 and 20 percent of each class.

    Frames whose headers have the same value of ``group_key`` stay together.
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, list[Atoms]] = {"unseen": [], "valid": [], "train": []}
    for path in paths:
        given = ase.io.read(path, ":")
        frames = with_own_zero(given)
        for is_periodic, name in ((False, "open"), (True, "periodic")):
            groups: dict[str, list[Atoms]] = {}
            for number, frame in enumerate(frames):
                if bool(frame.pbc.any()) == is_periodic:
                    frame.info["frames_of"] = f"{path.stem.removesuffix('_train')}_{name}"
                    group = str(given[number].info.get(group_key, f"frame {number}"))
                    groups.setdefault(group, []).append(frame)
            names = list(groups)
            order = [names[number] for number in generator.permutation(len(names))]
            n_frames = sum(len(members) for members in groups.values())
            done = 0
            for part, until in (("unseen", 0.2), ("valid", 0.3), ("train", 1.0)):
                while order and done < until * n_frames:
                    members = groups[order.pop()]
                    parts[part].extend(members)
                    done += len(members)
    folder.mkdir(parents=True, exist_ok=True)
    for part, frames in parts.items():
        ase.io.write(folder / f"{part}.xyz", frames)


def run(command: list[str], log: Path) -> None:
    """Run a command of the package with its output in a file.

    Ends the program with the last lines of the file where the command fails.
    """
    print(f"+ {' '.join(command)}  > {log}", flush=True)
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONWARNINGS": "ignore"}
    with log.open("w") as output:
        code = subprocess.run(command, env=environment, stdout=output, stderr=output).returncode
    if code != 0:
        sys.exit("\n".join(log.read_text().splitlines()[-15:]))


def trained_model(screening: str, folder: Path, epochs: int | None, seed: int) -> Path:
    """Return the model of one screening, trained if it is not there yet."""
    model = folder / f"{screening}.model"
    final = folder / "global_fitted.model" if screening == "global" else model
    if final.is_file():
        return final
    command = ["mace_smile_run_train", "--config", str(HERE / "train.yaml"), "--name", screening]
    command += ["--train_file", str(folder / "train.xyz"), "--valid_file"]
    command += [str(folder / "valid.xyz"), "--work_dir", str(folder), "--seed", str(seed)]
    command += ["--screening", screening, *FLAGS[screening], "--restart_latest"]
    if epochs is not None:
        command += ["--max_num_epochs", str(epochs)]
    run(command, folder / f"{screening}.log")
    if screening == "global":
        fit = ["mace_smile_fit_screening", str(model), "-o", str(final), "--overwrite"]
        fit += ["--configs", str(folder / "train.xyz"), "--class_key", "frames_of"]
        run(fit, folder / "fit.log")
    return final


def errors(model: Path, folder: Path, screening: str) -> dict[str, np.ndarray]:
    """Errors of the Born charges of each class of frames, in e, and of forces, in eV/A."""
    output = folder / f"{screening}_unseen.xyz"
    command = ["mace_smile_eval_configs", "--model", str(model), "--output", str(output)]
    command += ["--configs", str(folder / "unseen.xyz"), "--overwrite"]
    run(command, folder / f"{screening}_evaluation.log")
    collected: dict[str, list[np.ndarray]] = {}
    for frame in ase.io.read(output, ":"):
        born = frame.arrays["MACE_born_effective_charges"] - frame.arrays["REF_becs"]
        collected.setdefault(frame.info["frames_of"], []).append(born.ravel())
        forces = frame.arrays["MACE_forces"] - frame.arrays["REF_forces"]
        collected.setdefault("forces", []).append(forces.ravel())
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def show(results: dict[str, dict[str, np.ndarray]]) -> None:
    """Print mean absolute and root mean square errors, and how much better two are than one."""
    classes = [name for name in results["global"] if name != "forces"]
    print(f"\nBorn effective charges of unseen frames: MAE (RMSE) in e\n{'':<32}", end="")
    print("".join(f"{screening:>20}" for screening in results) + "   global / local, / uncoupled")
    maes = {screening: [] for screening in results}
    for name in [*classes, "all components", "mean of the classes"]:
        cells = []
        for screening, found in results.items():
            if name == "mean of the classes":
                mae = float(np.mean(maes[screening][: len(classes)]))
                cells.append(f"{mae:.4f}")
            else:
                parts = classes if name == "all components" else [name]
                values = np.concatenate([found[part] for part in parts])
                mae = float(np.abs(values).mean())
                cells.append(f"{mae:.4f} ({np.sqrt(np.mean(values**2)):.4f})")
            maes[screening].append(mae)
        ratios = [maes["global"][-1] / maes[other][-1] for other in ("local", "uncoupled")]
        print(f"{name:<32}" + "".join(f"{cell:>20}" for cell in cells), end="")
        print(f"{ratios[0]:>17.2f}{ratios[1]:>13.2f}")
    rmse = [1000 * np.sqrt(np.mean(found["forces"] ** 2)) for found in results.values()]
    print(f"{'force RMSE, meV/A':<32}" + "".join(f"{value:>20.1f}" for value in rmse))


def main() -> None:
    """Split, train what is missing, evaluate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=Path, nargs="+", default=[EMBEDDED])
    parser.add_argument("--work_dir", type=Path, default=Path("screening_comparison_output"))
    parser.add_argument("--group_key", default="md_run", help="header entry of frames of one kind")
    parser.add_argument("--epochs", type=int, help="of each training; train.yaml without it")
    parser.add_argument("--seed", type=int, default=1, help="of the split and the networks")
    arguments = parser.parse_args()
    for path in arguments.sets:
        if not path.is_file():
            parser.error(f"--sets: there is no file '{path}'")
    folder = arguments.work_dir
    if not (folder / "unseen.xyz").is_file():
        split(arguments.sets, folder, arguments.group_key, arguments.seed)
    counts = {part: len(ase.io.read(folder / f"{part}.xyz", ":")) for part in ("train", "unseen")}
    print(f"{counts['train']} frames to train on, {counts['unseen']} unseen", flush=True)
    results = {}
    for screening in FLAGS:
        model = trained_model(screening, folder, arguments.epochs, arguments.seed)
        results[screening] = errors(model, folder, screening)
    show(results)


if __name__ == "__main__":
    main()
