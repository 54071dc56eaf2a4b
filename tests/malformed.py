"""Sixty malformed inputs of the training commands, made with a fixed seed.

``python tests/malformed.py FOLDER`` writes them all and prints the arguments of
``mace_smile_run_train`` for each. None of them may be accepted.
"""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from mace.data import KeySpecification, config_from_atoms
from mace.data.utils import save_configurations_as_HDF5

from training_data import SMALL, frames, run, write

SEED = 20


@dataclass(frozen=True)
class Case:
    """One input."""

    name: str
    """What is wrong; also the name of its folder."""
    make: Callable[["Folder"], None]
    """Writes the files and adds the flags."""


class Folder:
    """What a case is made in: good files, to be spoilt, and flags of a good run of one epoch."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.rng = np.random.default_rng([SEED, seed])
        self.flags = ["--max_num_epochs=1", "--screening=uncoupled"]
        self.structures = frames(4)
        path.mkdir(parents=True)
        write(path, self.structures)

    def command(self) -> list[str]:
        """Arguments of ``mace_smile_run_train``; a flag that comes later counts."""
        common = [f"--train_file={self.path}/train.xyz", f"--work_dir={self.path}", "--name=water"]
        return [*common, *SMALL, "--valid_fraction=0.5", *self.flags]

    def text(self) -> str:
        """The good extended XYZ file."""
        return (self.path / "train.xyz").read_text()

    def spoil(self, old: str, new: str, count: int = 1) -> None:
        """Replace a word of the extended XYZ file."""
        text = self.text()
        assert old in text
        (self.path / "train.xyz").write_text(text.replace(old, new, count))


def flag(*words: str) -> Callable[[Folder], None]:
    """Flags that cannot be used."""
    return lambda folder: folder.flags.extend(words)


def yaml(content: str | bytes) -> Callable[[Folder], None]:
    """A file of `--config`."""

    def make(folder: Folder) -> None:
        path = folder.path / "config.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        folder.flags.append(f"--config={path}")

    return make


def bytes_of(change: Callable[[bytes, np.random.Generator], bytes]) -> Callable[[Folder], None]:
    """An extended XYZ file whose bytes are changed."""

    def make(folder: Folder) -> None:
        path = folder.path / "train.xyz"
        path.write_bytes(change(path.read_bytes(), folder.rng))

    return make


def word(old: str, new: str) -> Callable[[Folder], None]:
    """An extended XYZ file with another word."""
    return lambda folder: folder.spoil(old, new)


def atoms(change: Callable[[list], None], *flags: str) -> Callable[[Folder], None]:
    """An extended XYZ file of structures that are changed."""

    def make(folder: Folder) -> None:
        change(folder.structures)
        write(folder.path, folder.structures)
        folder.flags.extend(flags)

    return make


def hdf5(change: Callable[[h5py.File], None] | None, raw: bytes = b"") -> Callable[[Folder], None]:
    """An HDF5 file of training frames; good but for a change, or raw bytes."""

    def make(folder: Folder) -> None:
        good, path = folder.path / "valid.h5", folder.path / "train.h5"
        keys = KeySpecification.from_defaults()
        configs = [config_from_atoms(one, key_specification=keys) for one in folder.structures]
        for target in (good, path):
            with h5py.File(target, "w") as file:
                save_configurations_as_HDF5(configs, 0, file)
        if change is None:
            content = path.read_bytes()
            path.write_bytes(raw or content[: folder.rng.integers(100, len(content) // 2)])
        else:
            with h5py.File(path, "a") as file:
                change(file)
        folder.flags += [f"--train_file={path}", f"--valid_file={good}", "--atomic_numbers=[1, 8]"]
        folder.flags += ["--screening=none"]

    return make


def checkpoint(change: Callable[[Path, np.random.Generator], None]) -> Callable[[Folder], None]:
    """A run that was killed and whose file is spoilt before it is restarted."""

    def make(folder: Folder) -> None:
        finish_run(folder)
        (folder.path / "checkpoints" / "water_run-1_restart.pt").unlink()
        change(folder.path / "checkpoints" / "water_run-1_epoch-0.pt", folder.rng)
        folder.flags += ["--restart_latest", "--max_num_epochs=2"]

    return make


def finish_run(folder: Folder) -> None:
    """Files of a run that has ended, the same for all cases."""
    once = folder.path.parent / "finished"
    if not once.exists():
        once.mkdir()
        write(once, folder.structures)
        run(once, "--screening=uncoupled", "--valid_fraction=0.5", "--max_num_epochs=1")
    shutil.copytree(once, folder.path, dirs_exist_ok=True)


def bad_frame_with_overwrite(folder: Folder) -> None:
    """A frame that only the neighbour list refuses, beside files that would be replaced."""
    finish_run(folder)
    folder.structures[2].positions[1] = folder.structures[2].positions[0]
    write(folder.path, folder.structures)
    folder.flags.append("--overwrite")


def truncated(path: Path, rng: np.random.Generator) -> None:
    """Cut a file at a random place."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(1, len(content) - 1)])


def flipped(path: Path, rng: np.random.Generator) -> None:
    """Change one bit of the largest stored weight."""
    content = bytearray(path.read_bytes())
    values = torch.load(path, weights_only=False)["model"].values()
    weight = max(values, key=torch.Tensor.numel).numpy().tobytes()
    content[content.index(weight) + int(rng.integers(len(weight)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))


class Runs:
    """An object whose pickle runs code when it is loaded."""

    def __reduce__(self):
        return (print, ("this must not be printed",))


def rewritten(change: Callable[[dict], object]) -> Callable[[Path, np.random.Generator], None]:
    """Change what a checkpoint holds."""

    def make(path: Path, rng: np.random.Generator) -> None:
        content = torch.load(path, weights_only=False)
        torch.save(change(content) or content, path)

    return make


def set_positions(structures: list, value: float) -> None:
    """Give one coordinate a value."""
    structures[2].positions[1, 0] = value


def replace(file: h5py.File, name: str, values: object) -> None:
    """Replace a data set of the first configuration."""
    group = file["config_batch_0"]["config_0"]
    del group[name]
    if values is not None:
        group[name] = values


FLAGS = (
    Case("unknown flag", flag("--screeening=global")),
    Case("word for a number", flag("--lr=fast")),
    Case("negative learning rate", flag("--lr=-0.01")),
    Case("learning rate nan", flag("--lr=nan")),
    Case("batch of nothing", flag("--batch_size=0")),
    Case("negative epochs", flag("--max_num_epochs=-3")),
    Case("cutoff zero", flag("--r_max=0")),
    Case("no channels", flag("--num_channels=0")),
    Case("no layers", flag("--num_interactions=0")),
    Case("irreps that are none", flag("--MLP_irreps=16x0f")),
    Case("list cut off", flag("--radial_MLP=[16,")),
    Case("decay above one", flag("--ema", "--ema_decay=2")),
    Case("negative seed", flag("--seed=-1")),
    Case("interval of nothing", flag("--eval_interval=0")),
    Case("heads cut off", flag("--heads={'a': {")),
    Case("energies without an element", flag("--E0s={1:-1.0}")),
    Case("negative smearing", flag("--smearing=-1")),
    Case("text as a model", lambda folder: folder.flags.append(f"--foundation_model={__file__}")),
)
YAML = (
    Case("yaml missing", flag("--config=nowhere.yaml")),
    Case("yaml with a tab", yaml("lr: 0.1\n\tbatch_size: 2\n")),
    Case("yaml of a list", yaml("- lr\n- batch_size\n")),
    Case("yaml of a word", yaml("training")),
    Case("yaml with an unknown key", yaml("lerning_rate: 0.1\n")),
    Case("yaml with a dictionary for a number", yaml("patience: {a: 1}\n")),
    Case("yaml of binary", yaml(bytes(range(128, 256)))),
    Case("yaml with a value that is none", yaml("charge_head: nonlocal\n")),
    Case("yaml empty", yaml("")),
)
XYZ = (
    Case("xyz empty", bytes_of(lambda content, rng: b"")),
    Case("xyz of binary", bytes_of(lambda content, rng: rng.bytes(3000))),
    Case("xyz cut off in a line", bytes_of(lambda content, rng: content[: len(content) // 2 + 7])),
    Case("xyz with a number too large", bytes_of(lambda content, rng: b"9" + content)),
    Case("xyz with a negative number", bytes_of(lambda content, rng: b"-" + content)),
    Case("xyz without properties", word("Properties=species:S:1:pos:R:3:", "Properties=pos:R:3:")),
    Case("xyz with an unknown element", word("\nO  ", "\nXx ")),
    Case("xyz with a word for an energy", word("REF_energy=", "REF_energy=low other=")),
    Case("xyz with nan in positions", atoms(lambda s: set_positions(s, np.nan))),
    Case("xyz with nan in forces", atoms(lambda s: s[1].arrays["REF_forces"].fill(np.nan))),
    Case("xyz with nan in energy", atoms(lambda s: s[1].info.update(REF_energy=np.nan))),
    Case("xyz with a dipole of two numbers", atoms(lambda s: s[0].info.update(REF_dipole=[0, 1]))),
    Case(
        "xyz with eight columns of Born charges",
        atoms(lambda s: s[0].arrays.update(REF_becs=s[0].arrays["REF_becs"][:, :8])),
    ),
    Case("xyz with one periodic axis", atoms(lambda s: s[0].set_pbc([True, False, False]))),
    Case("xyz with a flat cell", atoms(lambda s: (s[0].set_cell([5, 5, 0]), s[0].set_pbc(True)))),
    Case("xyz with a charge in words", atoms(lambda s: s[0].info.update(total_charge="neutral"))),
    Case(
        "xyz with two atoms in one place",
        atoms(lambda s: s[2].positions.__setitem__(1, s[2].positions[0])),
    ),
)
HDF5 = (
    Case("hdf5 empty", hdf5(None, b"\0")),
    Case("hdf5 of text", hdf5(None, b"4\nProperties=species:S:1:pos:R:3\n")),
    Case("hdf5 cut off", hdf5(None)),
    Case("hdf5 of something else", hdf5(lambda file: (file.clear(), file.update(a=[1, 2])))),
    Case("hdf5 without positions", hdf5(lambda file: replace(file, "positions", None))),
    Case("hdf5 with too few positions", hdf5(lambda file: replace(file, "positions", [[0.0] * 3]))),
    Case("hdf5 with an element 300", hdf5(lambda f: replace(f, "atomic_numbers", [300] * 6))),
)
CHECKPOINTS = (
    Case("checkpoint empty", checkpoint(lambda path, rng: path.write_bytes(b""))),
    Case("checkpoint cut off", checkpoint(truncated)),
    Case("checkpoint with a flipped bit", checkpoint(flipped)),
    Case("checkpoint to be replaced by a bad run", bad_frame_with_overwrite),
    Case("checkpoint of a list", checkpoint(lambda path, rng: torch.save([1, 2], path))),
    Case("checkpoint without optimizer", checkpoint(rewritten(lambda c: c.pop("optimizer") and c))),
    Case(
        "checkpoint with other shapes",
        checkpoint(
            rewritten(
                lambda c: c["model"].update(
                    {name: value[..., :1] for name, value in c["model"].items() if value.dim() > 1}
                )
            )
        ),
    ),
    Case("checkpoint that runs code", checkpoint(rewritten(lambda c: {**c, "model": Runs()}))),
    Case(
        "checkpoint of a renamed model",
        checkpoint(lambda path, rng: (path.parents[1] / "water.model").replace(path)),
    ),
)
CASES = (*FLAGS, *YAML, *XYZ, *HDF5, *CHECKPOINTS)


def main() -> None:
    """Write all cases into a folder."""
    for number, case in enumerate(CASES):
        folder = Folder(Path(sys.argv[1]) / case.name.replace(" ", "_"), number)
        case.make(folder)
        print(json.dumps({"case": case.name, "flags": folder.command()}))


if __name__ == "__main__":
    main()
