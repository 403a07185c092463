"""The commands about sweeps: ``sadm sweep``, and ``sadm results`` of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sadm_utils.errors import UserError

if TYPE_CHECKING:
    from sadm_utils.sweep.plan import Plan


def add_sweep_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command ``sadm``."""
    app.command()(sweep)


def sweep(
    file: Annotated[str, typer.Argument(help="What to run, YAML; see sweeps/ in the book.")],
    jobs: Annotated[int, typer.Option(min=1, help="Points at once; they share the cores.")] = 1,
    dask: Annotated[
        str, typer.Option(help="Use a Dask cluster: its scheduler's address, tcp://HOST:PORT.")
    ] = "",
    out: Annotated[str, typer.Option(help="Folder; default runs/sweep-<name of the file>.")] = "",
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of a point; default: cores / jobs.")
    ] = 0,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed points again, too.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Run points of another version again, too.")
    ] = False,
    reuse: Annotated[
        list[str] | None, typer.Option(help="Folder of another sweep: take what it has finished.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would run.")] = False,
) -> None:
    """Run many variants, seeds and folds."""
    from sadm_utils.execute import NotebookFailed
    from sadm_utils.runs import project_root
    from sadm_utils.sweep.plan import plan_sweep
    from sadm_utils.sweep.schedule import run_sweep
    from sadm_utils.sweep.sweep_file import read_sweep

    plan = plan_sweep(read_sweep(file))
    folder = Path(out).expanduser() if out else project_root() / "runs" / f"sweep-{Path(file).stem}"
    if dry_run:
        _show_plan(plan, folder)
        return
    state = run_sweep(
        plan, folder, jobs=jobs, dask=dask, threads=threads, retry=retry, refresh=refresh,
        reuse=[Path(other).expanduser() for other in reuse or []], show=typer.echo,
    )  # fmt: skip
    _collect(folder)
    if state.count("failed"):
        names = ", ".join(state.having("failed"))
        raise NotebookFailed(
            f"{state.count('failed')} of {len(state.states)} points failed ({names}) and "
            f"{state.count('blocked')} were not run: mend the cause, and add --retry."
        )


def print_results(folder: str, style: str, metrics: list[str], mixed: bool) -> None:
    """Collect the results of a sweep and print its table.

    Raises
    ------
    UserError
        Nothing is finished, results of different versions would mix, or ``style`` or a metric is
        not known.
    """
    from sadm_utils.sweep.collect import collect
    from sadm_utils.sweep.layout import LAYOUTS, render

    if style not in LAYOUTS:
        raise UserError(f"Unknown --format {style!r}: choose one of {', '.join(LAYOUTS)}.")
    found = collect(Path(folder).expanduser(), mixed)
    typer.echo(render(found.table, style, metrics, found.subjects))
    for sentence in found.sentences:
        typer.echo(sentence, err=True)


def _show_plan(plan: Plan, folder: Path) -> None:
    from sadm_utils.sweep.schedule import tally

    state = tally(plan, folder)
    for point in plan.points.values():
        after = f" after {', '.join(point.parents)}" if point.parents else ""
        typer.echo(f"{point.id} {point.title[3:]}: {state.states[point.id]}{after}")
    typer.echo(f"{len(plan.points)} points, {len(plan.chains)} chains in {folder}: {state}.")


def _collect(folder: Path) -> None:
    """Collect what is finished; that this cannot be done yet is no failure of the sweep."""
    from sadm_utils.sweep.collect import collect

    try:
        collect(folder)
    except UserError as error:
        typer.echo(str(error))
        return
    typer.echo(f"Results: {folder / 'results'}; 'sadm results {folder}' prints the table.")
