"""``sadm fetch``: download an open data set, checked, resumable, from a second source if need be.

A file that is there with the right checksum is not fetched again. A connection that breaks is
resumed where it broke; bytes that do not fit their checksum are thrown away and fetched anew.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from sadm_utils.data.open_sets import BLOCK, Origin, RemoteFile, choose, fits
from sadm_utils.errors import UserError, write_error

TRIES = 4
TIMEOUT_S = 30.0
PAUSE_S = 1.0
AGENT = {"User-Agent": "sadm-book"}

_BROKEN = (
    urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError
)  # fmt: skip


def fetch(
    name: str,
    out_dir: str | Path,
    *,
    show: Callable[[str], None] = print,
    only_show: bool = False,
    mirror: str = "",
) -> Path:
    """Download an open data set.

    Parameters
    ----------
    name
        ``ds002748`` or ``mslub``.
    out_dir
        Folder for the files; a file that is being fetched ends in ``.part``.
    show
        Called with a sentence for each step: first the size and the license.
    only_show
        Stop after that.
    mirror
        Address of a copy of the set, with the list of files as ``index``; it is tried first.

    Returns
    -------
    pathlib.Path
        ``out_dir``.

    Raises
    ------
    UserError
        The set is unknown, there is no connection, or a file cannot be had in one piece.
    """
    origin, out = choose(name), Path(out_dir)
    files = list_remote(origin, mirror)
    todo = [file for file in files if not fits(out / file.path, file)]
    size, rest = (sum(file.size for file in some) / 1e6 for some in (files, todo))
    release = origin.release
    show(f"{release.title}: {len(files)} files, {size:.0f} MB; license {release.license}.")
    show(f"Please cite {release.citation}.")
    if only_show:
        return out
    if len(todo) < len(files):
        show(f"{len(files) - len(todo)} files are here; {rest:.0f} MB are left.")
    bases = (*((mirror.rstrip("/") + "/",) if mirror else ()), *origin.bases)
    for number, file in enumerate(todo, 1):
        fetch_file(file, out / file.path, bases, show)
        show(f"{number} of {len(todo)}: {file.path}")
    show(f"Complete: {out}.")
    return out


def list_remote(origin: Origin, mirror: str = "") -> list[RemoteFile]:
    """Files to take, with size and checksum, from the host's list.

    Raises
    ------
    UserError
        No list can be had.
    """
    addresses = ([mirror.rstrip("/") + "/index"] if mirror else []) + [origin.index]
    reason = ""
    for address in addresses:
        for attempt in range(TRIES):
            try:
                with _open(address) as answer:
                    listed = origin.read_index(answer.read())
                files = [file for file in listed if re.fullmatch(origin.keep, file.path)]
                if files:
                    return sorted(files, key=lambda file: file.path)
                reason = "its list names no file of the set"
                break
            except (*_BROKEN, ValueError, SyntaxError) as error:
                reason = _reason(error)
                if _is_final(error):
                    break
                time.sleep(PAUSE_S * attempt)
    raise UserError(
        f"The list of {origin.release.title} cannot be had ({reason}): check the connection, or "
        f"download the set by hand ({origin.release.access})."
    )


def fetch_file(
    remote: RemoteFile, target: Path, bases: tuple[str, ...], show: Callable[[str], None]
) -> Path:
    """Download one file: resume, retry, check, and turn to the next source.

    Raises
    ------
    UserError
        No source gives the file in one piece, or the disk is full.
    """
    part = target.with_name(target.name + ".part")
    reason = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for base in bases:
            for attempt in range(TRIES):
                if attempt:
                    time.sleep(PAUSE_S * 2 ** (attempt - 1))
                try:
                    _download(base + urllib.parse.quote(remote.path), part, remote.size)
                except _BROKEN as error:
                    reason = _reason(error)
                    if _is_final(error):
                        break
                    continue
                if fits(part, remote):
                    part.replace(target)
                    return target
                if part.stat().st_size >= remote.size:  # complete, but not what it should be
                    reason = "its checksum is wrong"
                    part.unlink()
                    show(f"{remote.path} from {base} is damaged: trying again.")
                else:
                    reason = "the connection broke"
    except OSError as error:
        raise write_error(target, error) from error
    raise UserError(
        f"{remote.path} cannot be had from {len(bases)} sources ({reason}): run the command again "
        "later, what was fetched is kept."
    )


def _download(address: str, part: Path, size: int) -> None:
    """Fetch what is missing of a file; a server without ranges starts it anew."""
    start = part.stat().st_size if part.is_file() else 0
    if start > size:
        part.unlink()
        start = 0
    if start == size and start:
        return
    with _open(address, start) as answer:
        resumed = start > 0 and answer.status == 206
        with open(part, "ab" if resumed else "wb") as stream:
            while block := answer.read(BLOCK):
                stream.write(block)


def _open(address: str, start: int = 0) -> http.client.HTTPResponse:
    headers = {**AGENT, **({"Range": f"bytes={start}-"} if start else {})}
    return urllib.request.urlopen(
        urllib.request.Request(address, headers=headers), timeout=TIMEOUT_S
    )


def _is_final(error: BaseException) -> bool:
    """Whether trying again is of no use: the host is not found, or has no such file."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (400, 401, 403, 404, 410)
    cause = getattr(error, "reason", None)
    return isinstance(cause, OSError) and type(cause).__name__ == "gaierror"


def _reason(error: BaseException) -> str:
    """A few words about what went wrong."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code}"
    if isinstance(error, urllib.error.URLError):
        return "no connection" if _is_final(error) else f"no connection: {error.reason}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.IncompleteRead | ConnectionError):
        return "the connection broke"
    return "its answer is not understood"
