"""More malformed inputs of the training commands: entries of checkpoints, statistics, LMDB, heads.

Beside each kind of file there is a good one (:data:`GOOD`), which is accepted.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from mace.tools.fairchem_dataset.lmdb_dataset_tools import LMDBDatabase

from malformed import Case, Folder, atoms, checkpoint, flag, hdf5, replace, rewritten, word, yaml
from training_data import run, write

STATISTICS = {
    "atomic_energies": "{1: -1.0, 8: -2.0}",
    "atomic_numbers": "[1, 8]",
    "avg_num_neighbors": 4.5,
    "mean": -0.1,
    "std": 0.8,
    "r_max": 4.0,
}


def same(content: object) -> None:
    """No change."""


def statistics(change: Callable[[dict], object]) -> Callable[[Folder], None]:
    """A statistics file with a change."""

    def make(folder: Folder) -> None:
        content = dict(STATISTICS)
        path = folder.path / "statistics.json"
        path.write_text(json.dumps(change(content) or content))
        folder.flags.append(f"--statistics_file={path}")

    return make


def lmdb(change: Callable[[Path], object]) -> Callable[[Folder], None]:
    """An LMDB file of training frames with a change."""

    def make(folder: Folder) -> None:
        path = folder.path / "train.aselmdb"
        with LMDBDatabase(str(path)) as database:
            for one in folder.structures:
                database.write(one)
        Path(f"{path}-lock").unlink()
        shutil.copy(path, folder.path / "valid.aselmdb")
        change(path)
        folder.flags += [f"--train_file={path}", "--screening=none", "--atomic_numbers=[1, 8]"]
        folder.flags.append(f"--valid_file={folder.path}/valid.aselmdb")

    return make


def cut(path: Path) -> None:
    """Leave the first page and a little more."""
    path.write_bytes(path.read_bytes()[:5000])


def zeroed(path: Path) -> None:
    """Lose all pages after the first two, which say where the others are."""
    content = path.read_bytes()
    path.write_bytes(content[:8192] + bytes(len(content) - 8192))


def restart(change: Callable[[dict], object]) -> Callable[[Folder], None]:
    """A killed run with a running average of the weights, whose restart file is changed."""

    def make(folder: Folder) -> None:
        once = folder.path.parent / "killed"
        flags = ("--screening=uncoupled", "--valid_fraction=0.5", "--ema")
        if not once.exists():
            once.mkdir()
            write(once, folder.structures)
            run(once, *flags, "--max_num_epochs=1")
        shutil.copytree(once, folder.path, dirs_exist_ok=True)
        directory = folder.path / "checkpoints"
        (directory / "water_run-1_epoch-0.pt").unlink()
        rewritten(change)(directory / "water_run-1_restart.pt", folder.rng)
        folder.flags += ["--restart_latest", "--max_num_epochs=2", "--ema"]

    return make


def entry(name: str, value: object) -> Callable[[dict], object]:
    """Set an entry of a checkpoint or statistics file."""
    return lambda content: content.update({name: value})


def without(name: str) -> Callable[[dict], object]:
    """Remove an entry."""
    return lambda content: content.__delitem__(name)


def changed(change: Callable[[dict], object]) -> Callable[[Folder], None]:
    """A checkpoint with a change."""
    return checkpoint(rewritten(change))


def spoilt(name: str, value: object) -> Callable[[Folder], None]:
    """A checkpoint with an entry that is something else."""
    return changed(entry(name, value))


def first_weight(content: dict, value: float) -> None:
    """Give one weight a value."""
    next(iter(content["model"].values())).view(-1)[0] = value


def other_states(content: dict, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the averages of Adam."""
    for state in content["optimizer"]["state"].values():
        state["exp_avg"] = change(state["exp_avg"])


def average_with(change: Callable[[list], list]) -> Callable[[dict], object]:
    """A running average with other tensors."""
    return lambda content: content["ema"].update(
        shadow_params=change(content["ema"]["shadow_params"])
    )


def energies_file(text: str) -> Callable[[Folder], None]:
    """A JSON file of `--E0s`."""

    def make(folder: Folder) -> None:
        path = folder.path / "energies.json"
        path.write_text(text)
        folder.flags.append(f"--E0s={path}")

    return make


FLAGS = (
    Case("stage two from epoch zero", flag("--start_swa=0")),
    Case("stage two from a negative epoch", flag("--start_swa=-2")),
    Case(
        "stage two that is never validated",
        flag("--start_swa=3", "--max_num_epochs=4", "--eval_interval=2"),
    ),
    Case("factor in words", flag('--lr_params_factors={"charge_heads_lr_factor": "a"}')),
    Case("negative factor", flag('--lr_params_factors={"readouts_lr_factor": -1}')),
    Case("factor nan", flag('--lr_params_factors={"readouts_lr_factor": NaN}')),
    Case("list of factors", flag('--lr_params_factors=["readouts_lr_factor"]')),
    Case("irreps of SO3", flag("--use_so3=True")),
    Case("scale nan", flag("--std=nan")),
    Case("shift nan", flag("--mean=nan")),
    Case("no neighbours", flag("--compute_avg_num_neighbors=False", "--avg_num_neighbors=0")),
    Case("neighbours nan", flag("--compute_avg_num_neighbors=False", "--avg_num_neighbors=nan")),
    Case("energy none", flag("--E0s={1: None, 8: -2.0}")),
    Case("energy of a word", flag("--E0s={'H': -1.0, 'O': -2.0}")),
    Case("energies file with nan", energies_file('{"1": NaN, "8": -2.0}')),
    Case("energies file of null", energies_file('{"1": null, "8": -2.0}')),
    Case("elements in words", flag("--atomic_numbers=['H', 'O']")),
    Case("negative weight of a kind", flag('--config_type_weights={"Default": -1.0}')),
    Case("infinite weight of a kind", flag('--config_type_weights={"Default": 1e999}')),
    Case("weights of kinds cut off", flag('--config_type_weights={"Default"')),
    Case("name empty", flag("--name=")),
    Case("name of a folder", flag("--name=runs/water")),
    Case("head of no foundation model", flag("--foundation_head=pbe")),
    Case("head to skip that is none", flag("--skip_evaluate_heads=pt_head,pbe")),
    Case("negative number of replayed frames", flag("--num_samples_pt=-1")),
    Case("two optimizers", flag("--lbfgs", "--optimizer=schedulefree")),
)
HEADS = (
    Case("heads of nothing", flag("--heads={}")),
    Case("head with a number for a file", flag("--heads={'a': {'train_file': 5}}")),
    Case("head with a misspelt key", flag("--heads={'a': {'bec_key': 'REF_becs'}}")),
    Case("head with a number for a name", flag("--heads={1: {}}")),
    Case("head with a dictionary of energies", flag("--heads={'a': {'E0s': {1: -1.0, 8: -2.0}}}")),
    Case("head with a word for a scale", flag("--heads={'a': {'std': 'large'}}")),
    Case("head with a negative scale", flag("--heads={'a': {'std': -1.0}}")),
    Case(
        "head with a number for an embedding", flag("--heads={'a': {'embedding_specs': {'x': 5}}}")
    ),
    Case("head with keys in a list", flag("--heads={'a': {'info_keys': ['energy']}}")),
)
FILES = (
    Case("yaml with a number for a key", yaml("1: 2\n")),
    Case("yaml with a date for a key", yaml("2020-01-01: 2\n")),
    Case("xyz with a word for a weight", word("REF_energy=", "config_weight=heavy REF_energy=")),
    Case("xyz with a weight nan", atoms(lambda s: s[1].info.update(config_weight=math.nan))),
    Case("xyz with a negative weight", atoms(lambda s: s[1].info.update(config_weight=-1.0))),
    Case("xyz with three kinds", atoms(lambda s: s[1].info.update(config_type=[1, 2, 3]))),
    Case(
        "xyz with an infinite weight of energy",
        atoms(lambda s: s[1].info.update(config_energy_weight=math.inf)),
    ),
    Case("hdf5 with a weight nan", hdf5(lambda file: replace(file, "weight", math.nan))),
    Case("hdf5 with a negative weight", hdf5(lambda file: replace(file, "weight", -1.0))),
    Case("hdf5 with a word for a weight", hdf5(lambda file: replace(file, "weight", "None"))),
    Case("lmdb cut off", lmdb(cut)),
    Case("lmdb with lost pages", lmdb(zeroed)),
    Case("lmdb empty", lmdb(lambda path: path.write_bytes(b""))),
)
STATISTICS_FILES = (
    Case("statistics of a list", statistics(lambda content: [1, 2])),
    Case("statistics without energies", statistics(without("atomic_energies"))),
    Case("statistics with a word for neighbours", statistics(entry("avg_num_neighbors", "many"))),
    Case("statistics with neighbours nan", statistics(entry("avg_num_neighbors", math.nan))),
    Case("statistics without neighbours", statistics(entry("avg_num_neighbors", 0))),
    Case("statistics with a list of means", statistics(entry("mean", [0.0]))),
    Case("statistics with a scale of zero", statistics(entry("std", 0.0))),
    Case("statistics with a word for energies", statistics(entry("atomic_energies", "average"))),
    Case("statistics with energies of null", statistics(entry("atomic_energies", None))),
    Case("statistics with an energy none", statistics(entry("atomic_energies", "{1: None}"))),
    Case("statistics without an element", statistics(entry("atomic_energies", "{1: -1.0}"))),
    Case("statistics with elements in words", statistics(entry("atomic_numbers", "['H', 'O']"))),
    Case("statistics of another cutoff", statistics(entry("r_max", 5.0))),
)
CHECKPOINTS = (
    Case("checkpoint with flags none", spoilt("flags", None)),
    Case("checkpoint with a list of flags", spoilt("flags", ["r_max"])),
    Case("checkpoint with weights none", spoilt("model", None)),
    Case("checkpoint with words for weights", spoilt("model", {"a": "b"})),
    Case("checkpoint with a list of optimizers", spoilt("optimizer", [1])),
    Case("checkpoint without groups", spoilt("optimizer", {"state": {}})),
    Case("checkpoint with a word for a loss", spoilt("validation_loss", "low")),
    Case("checkpoint without the name of a loss", changed(without("loss"))),
    Case("checkpoint with scheduler none", spoilt("lr_scheduler", None)),
    Case("checkpoint with a list of schedulers", spoilt("lr_scheduler", [1])),
    Case("checkpoint with a word in a scheduler", spoilt("lr_scheduler", {"num_bad_epochs": "a"})),
    Case(
        "checkpoint with parameters in another order",
        changed(lambda content: content["optimizer"]["param_groups"][-1]["params"].reverse()),
    ),
    Case("checkpoint with a weight nan", changed(lambda content: first_weight(content, math.nan))),
    Case(
        "checkpoint with averages of other shapes",
        changed(lambda content: other_states(content, lambda one: one.new_zeros(3))),
    ),
    Case(
        "checkpoint with an average nan",
        changed(lambda content: other_states(content, lambda one: one / 0.0)),
    ),
    Case(
        "checkpoint with a word for a learning rate",
        changed(lambda content: content["optimizer"]["param_groups"][0].update(lr="fast")),
    ),
)
RESTARTS = (
    Case("restart file with a word for an epoch", restart(entry("epoch", "last"))),
    Case("restart file without an epoch", restart(without("epoch"))),
    Case("restart file with a negative epoch", restart(entry("epoch", -5))),
    Case("restart file far ahead", restart(entry("epoch", 10**9))),
    Case("restart file without an average", restart(without("ema"))),
    Case("restart file with a list of averages", restart(entry("ema", [1]))),
    Case("restart file with too few averages", restart(average_with(lambda values: values[1:]))),
    Case(
        "restart file with averages of other shapes",
        restart(average_with(lambda values: [value[None] for value in values])),
    ),
    Case(
        "restart file with an average nan",
        restart(average_with(lambda values: [value / 0.0 for value in values])),
    ),
    Case("restart file with a word for random numbers", restart(entry("sampling", "seed"))),
    Case("restart file with too few random numbers", restart(entry("sampling", torch.zeros(4)))),
    Case("restart file with a list of flags", restart(entry("flags", [1]))),
    Case("restart file with scheduler none", restart(entry("lr_scheduler", None))),
)
MORE = (*FLAGS, *HEADS, *FILES, *STATISTICS_FILES, *CHECKPOINTS, *RESTARTS)
#: How the sentences for entries of files name them.
SAYS = {
    **{case.name: r"statistics\.json' (cannot be used|counts)" for case in STATISTICS_FILES},
    **{case.name: r"epoch-0\.pt' (has an|has numbers|lacks|holds an)" for case in CHECKPOINTS},
    **{case.name: r"restart\.pt' (has an|has numbers|lacks|holds an|is at)" for case in RESTARTS},
}
#: What each maker makes without a fault.
GOOD = (
    Case("good statistics", statistics(same)),
    Case("good lmdb", lmdb(same)),
    Case("good hdf5", hdf5(same)),
    Case("good checkpoint", changed(same)),
    Case("good restart file", restart(same)),
    Case("good restart file of an earlier version", restart(without("sampling"))),
    Case("good energies file", energies_file('{"1": -1.0, "8": -2.0}')),
    Case("good weight of a frame", word("REF_energy=", "config_weight=0.5 REF_energy=")),
    Case("good yaml", yaml("lr: 0.02\nbatch_size: 1\n")),
    Case(
        "good heads",
        flag("--heads={'a': {'std': 0.5, 'becs_key': 'REF_becs', 'E0s': '{1: -1.0, 8: -2.0}'}}"),
    ),
    Case("good stage two", flag("--start_swa=3", "--max_num_epochs=5", "--eval_interval=2")),
    Case("good head to skip", flag("--skip_evaluate_heads=Default")),
)
