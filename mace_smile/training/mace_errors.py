"""What MACE's training script stops at before it trains, as a sentence.

Most of it is checked before MACE is called; what is left are values of its many flags that it
takes as they are.
"""

import contextlib
import logging
from collections.abc import Iterator
from types import TracebackType

from mace_smile.errors import UserError
from mace_smile.training.progress import Progress

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def as_sentences(progress: Progress) -> Iterator[None]:
    """Turn an error of MACE before the first validation into one of the user's.

    Errors of our own code, and errors while it trains, stay what they are.

    :param progress: of the run.
    :raises UserError: with the message of MACE.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        if progress.has_begun or not _is_of_mace(error.__traceback__):
            raise
        logger.debug("MACE has stopped", exc_info=True)
        raise UserError(
            f"MACE stops before it trains ({type(error).__name__}: {error}), at a flag or a file "
            "it cannot use; --log_level DEBUG shows where"
        ) from error


def _is_of_mace(traceback: TracebackType | None) -> bool:
    """Whether the innermost code of MACE and ours on the way to an error is MACE's."""
    packages = []
    while traceback is not None:
        packages.append(str(traceback.tb_frame.f_globals.get("__name__")).split(".")[0])
        traceback = traceback.tb_next
    known = [name for name in packages if name in ("mace", "mace_smile")]
    return bool(known) and known[-1] == "mace"
