"""The commands about data: ``sadm fetch``, ``sources``, ``prepare`` and ``splits``."""

from __future__ import annotations

from typing import Annotated

import typer

from sadm_utils.errors import UserError
from sadm_utils.progress import Pace


def add_data_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command ``sadm``."""
    for command in (sources, fetch, prepare, splits):
        app.command()(command)


def prepare(
    source: Annotated[str, typer.Argument(help="Folder with raw scans, or a CSV that names them.")],
    out: Annotated[str, typer.Option(help="Where the data set is written.")],
    kind: Annotated[
        str, typer.Option("--source", help="Releases to read: ixi,brats21; see 'sadm sources'.")
    ] = "auto",
    sick_set: Annotated[
        str, typer.Option("--set", help="What your own lesions are: Brats21, ATLAS, MSLUB, WMH.")
    ] = "",
    brain: Annotated[
        str, typer.Option(help="Brain mask: auto, given, stripped, hd-bet or template.")
    ] = "auto",
    bias_correction: Annotated[bool, typer.Option(help="Divide by a bias field (N4).")] = True,
    template: Annotated[
        str, typer.Option(help="Template to register to, NIfTI; default: MNI152.")
    ] = "",
    template_mask: Annotated[
        str, typer.Option(help="Its brain mask; default: found in it.")
    ] = "",
    lists: Annotated[
        str, typer.Option(help="Folder of lists to use, e.g. the paper's; default: dealt anew.")
    ] = "",
    folds: Annotated[int, typer.Option(min=1, help="Pairs of training and validation lists.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the lists.")] = 0,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1 for one a core.")] = -1,
    dask: Annotated[
        str, typer.Option(help="Use a Dask cluster: its scheduler's address, tcp://HOST:PORT.")
    ] = "",
) -> None:
    """Make a data set from raw scans."""
    from sadm_utils.data.prepare import PrepareSettings, prepare_source

    settings = PrepareSettings(
        kind, sick_set, bias_correction, brain, seed, folds, lists, template, template_mask
    )
    pace = Pace()

    def progress(done: int, total: int) -> None:
        typer.echo(f"{done} of {total} scans registered{pace.left(done, total)}")

    folder = prepare_source(
        source, out, progress, settings=settings, jobs=jobs or 1, cluster=dask, report=typer.echo
    )
    typer.echo(f"Data set: {folder}. Look at {folder / 'quality.html'}.")


def fetch(
    name: Annotated[str, typer.Argument(help="ds002748 or mslub.")],
    out: Annotated[str, typer.Option(help="Folder for the files.")],
    only_show: Annotated[
        bool, typer.Option("--only-show", help="Only show size and license.")
    ] = False,
    mirror: Annotated[str, typer.Option(help="Address of a copy, tried first.")] = "",
) -> None:
    """Download an open data set."""
    from sadm_utils.data.fetch import fetch as fetch_set

    fetch_set(name, out, show=typer.echo, only_show=only_show, mirror=mirror)


def sources() -> None:
    """Show which public sets are read."""
    from sadm_utils.data.sources import releases

    for release in releases():
        count = f", {release.subjects} subjects" if release.subjects else ""
        typer.echo(f"{release.key}: {release.title}{count}")
        for name in ("license", "access", "citation", "expected"):
            typer.echo(f"  {name}: {getattr(release, name)}")


def splits(
    data_dir: Annotated[str, typer.Argument(help="A data set with a folder 'splits'.")],
) -> None:
    """Check that no subject is in two lists."""
    from sadm_utils.data.splits import find_overlaps, read_lists

    lists = read_lists(data_dir)
    for name, frame in lists.items():
        typer.echo(f"{name}: {len(frame)} subjects")
    sentences = find_overlaps(lists)
    for sentence in sentences:
        typer.echo(sentence)
    if any(" share " in sentence for sentence in sentences):
        raise UserError(f"The lists of {data_dir} overlap: remove the subjects from one of each.")
    typer.echo("No subject is in two parts of a split.")
