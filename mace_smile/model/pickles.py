"""Reading pickles of models, without running what a stranger has put into one.

A ``.model`` is a pickle, and a pickle names functions and classes that are called when it is
loaded. Here it may name those that models of MACE and of this package hold: tensors, modules of
torch, e3nn, MACE, torch-pme and ours, their options, and code that multiplies tensors. Anything
else is refused before it runs, unless the user trusts the file. It is no sandbox: it keeps out
code, not wrong numbers.
"""

import pickle
from pathlib import Path
from typing import Any

import torch

from mace_smile.errors import UserError
from mace_smile.model.graph_code import ForeignContent
from mace_smile.model.known_names import check_not_fused
from mace_smile.model.known_pickle import KnownUnpickler

#: How pickles begin.
PICKLE = b"\x80"
#: A file that only TorchScript archives have.
SCRIPT_RECORD = "constants.pkl"


class KnownPickle:
    """What ``torch.load`` takes as a ``pickle_module``."""

    Unpickler = KnownUnpickler

    @staticmethod
    def load(file: Any, **settings: Any) -> Any:
        """What ``torch.load`` asks for where a file is no zip archive.

        :raises ForeignContent: for a file of an old torch.
        :raises UnpicklingError: for anything else.
        """
        if file.read(len(PICKLE)) == PICKLE:
            raise ForeignContent("is a plain pickle, or of a torch older than MACE")
        raise pickle.UnpicklingError("it was not written by torch.save")


class TrustedUnpickler(pickle.Unpickler):
    """Python's unpickler, which runs whatever it is told to."""

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle names.

        :raises UserError: for models stored for cuEquivariance, of which no command can make use.
        """
        check_not_fused(module)
        return super().find_class(module, name)


class TrustedPickle:
    """What ``torch.load`` takes as a ``pickle_module``."""

    Unpickler = TrustedUnpickler

    @staticmethod
    def load(file: Any, **settings: Any) -> Any:
        """Content of one pickle, of old files of torch."""
        return TrustedUnpickler(file, **settings).load()


def is_script(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, as a ``.pt`` for engines is.

    ``torch.load`` would run it as such.
    """
    with Path(path).open("rb") as file:
        try:
            return SCRIPT_RECORD in torch._C.PyTorchFileReader(file).get_all_records()
        except (RuntimeError, OSError):  # it is no zip archive, or a broken one
            return False


def read_pickle(path: str | Path, device: str | torch.device = "cpu", trust: bool = False) -> Any:
    """Content of a file that ``torch.save`` has written.

    :param path: the file.
    :param device: where its tensors go.
    :param trust: run whatever the file asks for.
    :raises UserError: for a file that holds more than models do, or cannot be read.
    """
    module: Any = TrustedPickle if trust else KnownPickle
    try:
        if is_script(path):
            raise UserError(
                "this is a compiled model (TorchScript) but a .model file is wanted; give the one "
                "it was made from"
            )
        return torch.load(path, map_location=device, weights_only=False, pickle_module=module)
    except ForeignContent as error:
        raise UserError(
            f"'{path}' {error}: loading it may run the code of whoever made it. If you trust "
            "them, add --trust (in Python trust=True), or ask them for the .pt file that "
            "mace_smile_export makes of it, which is no pickle"
        ) from error
    except UserError as error:
        raise UserError(f"'{path}': {error}") from error
    except Exception as error:  # a broken pickle may raise anything
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = " ".join(str(error).split()).split(". ")[0]  # torch adds paragraphs
        raise UserError(
            f"'{path}' cannot be read as a model ({type(error).__name__}: {reason}); give the "
            ".model file that mace_smile_run_train or MACE wrote"
        ) from error
