"""How far the response to a field is taken: Born charges alone, or polarizabilities too."""

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions


def field_order_of(options: SmileOptions, asked: int | None) -> int:
    """Order of the response of a model: 1, forces Z^T E, or 2, with those of the polarizability.

    :param options: of the model.
    :param asked: what the user wants; None is 2 where the model has a polarizability.
    :raises UserError: for another number, and for an order the model does not have.
    """
    if asked not in (None, 1, 2):
        raise UserError(f"`field_order` is {asked} but must be 1 or 2")
    if asked == 2 and not options.has_polarizability:
        raise UserError(
            "`field_order` is 2 but the model has no polarizability; use 1, or train with "
            "--polarizability_head local and labels (--polarizability_key)"
        )
    return asked or (2 if options.has_polarizability else 1)
