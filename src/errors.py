"""The one exception that a person is meant to read."""


class UserError(Exception):
    """A mistake that the person can mend.

    The message says what is wrong, where, and what to do next; the doors (`stages`, `commands`,
    `recipes`) print it without a traceback and exit with 1.
    """
