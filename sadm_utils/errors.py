"""Errors that a user can mend."""


class UserError(Exception):
    """A mistake in input or settings: one sentence that names the place and the remedy.

    The ``sadm`` command prints the sentence alone and exits with code 2.
    """

    def _render_traceback_(self) -> list[str]:
        """Show only the sentence in a notebook: IPython calls this instead of the traceback."""
        return [f"UserError: {self}"]
