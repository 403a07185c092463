"""Errors that a user can mend, and how an error of the system becomes one."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake in input or settings: one sentence that names the place and the remedy.

    The ``sadm`` command prints the sentence alone and exits with code 2.
    """

    def _render_traceback_(self) -> list[str]:
        """Show only the sentence in a notebook: IPython calls this instead of the traceback."""
        return [f"UserError: {self}"]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says when ``path`` cannot be written into one sentence."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> UserError:
    """Turn an operating-system error while writing ``path`` into one sentence."""
    if is_full_disk(error):
        return UserError(f"The disk is full while writing {path}: free some space and run again.")
    reason = error.strerror or str(error)
    return UserError(f"{path} cannot be written ({reason}): choose a writable folder.")


def is_full_disk(error: BaseException) -> bool:
    """Tell whether an error, of whatever library, means that the disk or the quota is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    return "No space left on device" in text or "Disk quota exceeded" in text
