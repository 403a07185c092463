"""The same work on a Dask cluster, given the address of its scheduler.

Calls are submitted here and not through joblib, whose backend for Dask waits forever for a call
whose worker has died, and that is what too little memory looks like on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sadm_utils.errors import UserError

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
"""So long without a result, and it is asked whether there are workers left."""

AHEAD = 2
"""Calls submitted for each core, so that none waits for the next one."""

Lost = Callable[[tuple, str], Any]


def run_on_cluster(
    function: Callable[..., Any],
    arguments: Iterable[tuple],
    address: str,
    *,
    shared: Iterable[str | Path] = (),
    lost: Lost | None = None,
) -> Iterator[Any]:
    """Call ``function(*arguments)`` for each tuple on a cluster, and yield results as they come.

    Parameters
    ----------
    function
        A function of a module that the workers can import, too.
    arguments
        One tuple a call; taken as the work proceeds.
    address
        Of the scheduler, such as ``tcp://localhost:8786``.
    shared
        Files and folders that every worker must see.
    lost
        ``lost(arguments, reason)`` is the result of a call whose workers have died, again and
        again; without it such a call ends the work.

    Raises
    ------
    UserError
        Dask is not installed, no scheduler answers, it has no workers, a worker lacks the book or
        a shared folder, or the connection breaks.
    """
    with connected(address) as client:
        check_workers(client, address, [str(path) for path in shared])
        calls, running = iter(arguments), {}

        def submit(count: int) -> None:
            for one in islice(calls, count):
                running[client.submit(function, *one, pure=False)] = one

        submit(AHEAD * sum(client.ncores().values()))
        while running:
            for future in _wait(client, list(running), address):
                one = running.pop(future)
                submit(1)
                yield _result(future, one, address, lost)


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at an address; ``UserError`` if there is none."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            "Dask is not installed here: run 'pip install distributed', or leave out --dask to "
            "work on this machine alone."
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        raise UserError(
            f"No Dask scheduler answers at {address!r} ({reason}): start one with 'dask scheduler' "
            "and give the address that it prints, such as tcp://localhost:8786."
        ) from None
    with client:
        yield client


def check_workers(client: Client, address: str, shared: list[str]) -> None:
    """Refuse a cluster that cannot do the work, before any of it is lost there."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError:
        raise UserError(
            f"The Dask scheduler at {address} has no workers: start some with 'dask worker "
            f"{address} --nthreads 1'."
        ) from None
    answers = client.run(_unseen, shared, on_error="return")
    for worker, unseen in answers.items():
        if isinstance(unseen, BaseException):
            raise UserError(
                f"The Dask worker {worker} cannot run the book ({unseen}): install the same "
                "version of it there, and start the worker again."
            )
        if unseen:
            raise UserError(
                f"The Dask worker {worker} does not see {unseen[0]}: use folders that all machines "
                "share under the same name."
            )


def _unseen(paths: list[str]) -> list[str]:
    """Runs on a worker: which of the paths do not exist there."""
    return [path for path in paths if not Path(path).exists()]


def _wait(client: Client, futures: list[Future], address: str) -> set[Future]:
    """The futures that have ended, at least one."""
    from distributed import wait

    while True:
        try:
            found = wait(futures, timeout=PATIENCE_SECONDS, return_when="FIRST_COMPLETED")
            return found.done
        except TimeoutError:
            if not client.ncores():
                raise UserError(
                    f"The Dask scheduler at {address} has lost all its workers: start some and run "
                    "the same command again to resume."
                ) from None
        except (CancelledError, OSError):
            raise broken(address) from None


def _result(future: Future, arguments: tuple, address: str, lost: Lost | None) -> Any:
    from distributed import KilledWorker

    if future.status == "error":
        error = future.exception()
        if lost and isinstance(error, KilledWorker):
            return lost(arguments, "the Dask workers that took it died, most often for want of "
                        "memory: start them with more, or with one thread each")  # fmt: skip
        raise error
    if future.status != "finished":
        raise broken(address)
    try:
        return future.result()
    except (CancelledError, OSError):
        raise broken(address) from None


def broken(address: str) -> UserError:
    """The error for a scheduler that does not answer any more."""
    return UserError(
        f"The connection to the Dask scheduler at {address} broke: run the same command again to "
        "resume."
    )
