"""Format version of stored models, and one upgrade function a step.

The state of a stored :class:`~mace_smile.model.smile_mace.SmileMACE` says the version it was
written with. A newer one is refused with a sentence; an older one is brought up to date by
the functions in ``UPGRADES``, in order.
"""

from collections.abc import Callable
from typing import Any

from mace_smile.errors import UserError

#: Version of the models this package writes.
FORMAT_VERSION = 1

#: Upgrade functions: ``UPGRADES[n]`` turns a state of version n into one of version n + 1.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def upgrade(state: dict[str, Any]) -> dict[str, Any]:
    """Bring the state of a stored model up to the present version.

    :param state: the pickled dictionary of the module, with ``format_version``.
    :return: the dictionary as the present code expects it.
    :raises UserError: for a version that is newer than this package, or has no way up.
    """
    version = state.get("format_version")
    if not isinstance(version, int):
        raise UserError(
            "the model file has no `format_version` and was not written by mace-smile; "
            "train it with mace_smile_run_train"
        )
    if version > FORMAT_VERSION:
        raise UserError(
            f"the model file has format version {version} but this mace-smile reads versions up "
            f"to {FORMAT_VERSION}; install a newer mace-smile"
        )
    while version < FORMAT_VERSION:
        if version not in UPGRADES:
            raise UserError(
                f"the model file has format version {version}, which this mace-smile can no "
                "longer read; load and save it with an older one first"
            )
        state = UPGRADES[version](state)
        version += 1
        state["format_version"] = version
    return state
