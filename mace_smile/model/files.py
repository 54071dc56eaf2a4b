"""Reading stored models (``.model``), with an error a user can act on."""

from pathlib import Path

import torch

from mace_smile.errors import UserError
from mace_smile.model.pickles import is_script, read_pickle
from mace_smile.model.smile_mace import SmileMACE


def check_device(device: str | torch.device) -> None:
    """Refuse a device that is not there.

    :raises UserError: naming it.
    """
    try:
        torch.zeros(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"the device '{device}' cannot be used ({str(error).splitlines()[0]}); use cpu"
        ) from error


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    trust: bool = False,
) -> SmileMACE:
    """Load a model that ``mace_smile_run_train`` has written.

    The file is a pickle, which may hold code; see :mod:`mace_smile.model.pickles`.

    :param path: the ``.model`` file.
    :param device: where to put it.
    :param dtype: float32 or float64; None keeps the one it was trained with.
    :param trust: run whatever code the file holds.
    :raises UserError: for a missing or unreadable file, one that holds more than models do,
        another kind of model, or a format that is newer than this package.
    """
    check_device(device)
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no model file '{path}'")
    if is_script(path):
        raise UserError(
            f"'{path}' is a model exported for engines but a SmileMACE is wanted; give the .model "
            "file it was made from"
        )
    model = read_pickle(path, device, trust)
    if not isinstance(model, SmileMACE):
        raise UserError(
            f"'{path}' holds a {type(model).__name__} but a SmileMACE is wanted; train it with "
            "mace_smile_run_train, which also starts from a MACE (--foundation_model)"
        )
    if dtype is not None:
        model = model.to(dtype)
    return model.to(device).eval()
