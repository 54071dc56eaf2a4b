"""Reading stored models (``.model``), with an error a user can act on."""

import pickle
from pathlib import Path

import torch

from mace_smile.errors import UserError
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
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> SmileMACE:
    """Load a model that ``mace_smile_run_train`` has written.

    The file is a pickle: loading one runs code, so load only what you trust.

    :param path: the ``.model`` file.
    :param device: where to put it.
    :param dtype: float32 or float64; None keeps the one it was trained with.
    :raises UserError: for a missing or unreadable file, another kind of model, or a format
        that is newer than this package.
    """
    check_device(device)
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no model file '{path}'")
    try:
        model = torch.load(path, map_location=device, weights_only=False)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from error
    except (pickle.UnpicklingError, EOFError, RuntimeError, AttributeError, ImportError) as error:
        raise UserError(
            f"'{path}' cannot be read as a model ({type(error).__name__}: {error}); give the "
            ".model file that mace_smile_run_train wrote"
        ) from error
    if not isinstance(model, SmileMACE):
        raise UserError(
            f"'{path}' holds a {type(model).__name__} but a SmileMACE is wanted; train it with "
            "mace_smile_run_train"
        )
    if dtype is not None:
        model = model.to(dtype)
    return model.to(device).eval()
