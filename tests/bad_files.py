"""Files that are not what a command or an engine wants, made from files that are."""

import pickle
from pathlib import Path

import torch

#: Each file that no reader of exported models may take, and the words it must say.
NOT_EXPORTED = {
    "nowhere": "there is no",
    "empty": "cannot be read as an exported model",
    "text": "cannot be read as an exported model",
    "pickle": "cannot be read as an exported model",
    "dictionary": "cannot be read as an exported model",
    "start": "cannot be read as an exported model",
    "half": "cannot be read as an exported model",
    "almost": "cannot be read as an exported model",
    "trained": "cannot be read as an exported model",
    "script": "cannot be read as an exported model",
    "folder": "there is no",
}
#: The same for readers of trained models.
NOT_TRAINED = {
    "nowhere": "there is no model file",
    "empty": "cannot be read as a model",
    "text": "cannot be read as a model",
    "pickle": "is a plain pickle, or of a torch older than MACE",
    "dictionary": "holds a dict but a SmileMACE is wanted",
    "start": "cannot be read as a model",
    "half": "cannot be read as a model",
    "almost": "cannot be read as a model",
    "mace": "holds a ScaleShiftMACE but a SmileMACE is wanted",
    "exported": "is a model exported for engines but a SmileMACE is wanted",
    "folder": "there is no model file",
}


def write_bad_files(folder: Path, good: Path, suffix: str) -> None:
    """Write a file ``NAME.suffix`` for each name above that needs no other model.

    :param good: a file that is what is wanted.
    """
    content = good.read_bytes()
    (folder / f"empty{suffix}").write_bytes(b"")
    (folder / f"text{suffix}").write_text("no model\n")
    (folder / f"pickle{suffix}").write_bytes(pickle.dumps({"a": 1}))
    torch.save({"a": 1}, folder / f"dictionary{suffix}")
    (folder / f"start{suffix}").write_bytes(content[:5000])
    (folder / f"half{suffix}").write_bytes(content[: len(content) // 2])
    (folder / f"almost{suffix}").write_bytes(content[:-100])
    (folder / f"folder{suffix}").mkdir()


def write_bad_exported(folder: Path, good: Path, model: torch.nn.Module) -> None:
    """Write the files of :data:`NOT_EXPORTED`.

    :param good: an exported file.
    :param model: a trained model.
    """
    write_bad_files(folder, good, ".pt")
    torch.save(model, folder / "trained.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "script.pt")
