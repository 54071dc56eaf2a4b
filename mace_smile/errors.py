"""The one exception that means: the user can mend this, and the message says how."""


class UserError(ValueError):
    """Bad input. The message says what came, what is wanted and the remedy.

    The commands print the message as one sentence and exit with code 2; in Python it
    is an ordinary :class:`ValueError`.
    """
