"""The ``sadm`` command: run the book, one notebook, or the model on one scan."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from sadm_utils.data_commands import add_data_commands
from sadm_utils.errors import UserError
from sadm_utils.sweep_commands import add_sweep_commands, print_results
from sadm_utils.train import add_train_command

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Anomaly detection in brain MRI, as a book that runs.",
)

Profile = Annotated[str, typer.Option(help="smoke (wiring), demo (default) or paper (GPUs).")]
RunDir = Annotated[
    str,
    typer.Option(
        help="Where stages are written; default runs/<profile>, with a data set "
        "runs/<profile>-<its folder>."
    ),
]
DataDir = Annotated[str, typer.Option(help="A data set; default: the built-in phantom cohort.")]
Dataset = Annotated[
    str, typer.Option(help="Which raw scans of it, e.g. ixi,brats21; see 'sadm sources'.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of all random draws.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", help="A setting, e.g. -o cddpm.train.epochs=5; repeatable."),
]


@app.command()
def book(
    profile: Profile = "demo",
    run_dir: RunDir = "",
    data_dir: DataDir = "",
    dataset: Dataset = "",
    seed: Seed = None,
    override: Overrides = None,
    site_only: Annotated[bool, typer.Option("--site-only", help="Only build the pages.")] = False,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Only print the pages built before to book.pdf.")
    ] = False,
) -> None:
    """Run all notebooks, build the site."""
    from sadm_utils.book import build_book, common_parameters

    if pdf:
        from sadm_utils.pdf import print_book

        print_book(common_parameters(profile, run_dir, data_dir)[1])
        return
    build_book(profile, run_dir, data_dir, seed, parse_overrides(override), site_only, dataset)


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="Number or name, e.g. 05.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="A parameter; repeatable."),
    ] = None,
    profile: Profile = "demo",
    run_dir: RunDir = "",
    data_dir: DataDir = "",
    dataset: Dataset = "",
    seed: Seed = None,
    override: Overrides = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Only try N training steps (03, 04, 05): time, memory, nothing kept."),
    ] = None,
) -> None:
    """Run one notebook: sadm run 05 -p ANNOTATIONS brats21"""
    from sadm_utils.book import common_parameters, run_notebook
    from sadm_utils.execute import check_parameters, find_notebook

    if steps is not None:
        from sadm_utils.config import load_config
        from sadm_utils.trial import try_stage

        config = load_config(profile, parse_overrides(override))
        try_stage(find_notebook(notebook).stem, config, steps, seed or 0, typer.echo)
        return
    own = parse_pairs(parameter)
    check_parameters(find_notebook(notebook), own)
    # What all notebooks share may be given either as an option or as a parameter.
    common, folder = common_parameters(
        own.pop("PROFILE", profile),
        own.pop("RUN_DIR", run_dir),
        own.pop("DATA_DIR", data_dir),
        own.pop("SEED", seed),
        own.pop("OVERRIDES", parse_overrides(override)),
    )
    run_notebook(notebook, common, own, folder, dataset)


@app.command()
def results(
    sweep: Annotated[str, typer.Argument(help="Folder of a sweep; default: a run.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json as it is.")] = False,
    profile: Profile = "demo",
    run_dir: RunDir = "",
    style: Annotated[
        str, typer.Option("--format", help="Of a sweep: text, markdown or latex.")
    ] = "text",
    metric: Annotated[list[str] | None, typer.Option(help="Of a sweep; repeatable.")] = None,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Of a sweep: accept points of different versions.")
    ] = False,
) -> None:
    """Print the results of a run or a sweep as a table."""
    if sweep:
        print_results(sweep, style, metric or [], mixed)
        return
    from sadm_utils.evaluation.tables import read_results, results_table, to_text

    folder = _run_folder(profile, run_dir) / "evaluation"
    rows, _ = read_results(folder)
    if as_json:
        typer.echo((folder / "results.json").read_text(encoding="utf-8").rstrip())
        return
    # One block a test set: all of them side by side are wider than a terminal.
    for name in dict.fromkeys(rows["test_set"]):
        metrics = [m for m in ("best_dice", "dice", "auprc", "auroc") if m in set(rows["metric"])]
        typer.echo(to_text(results_table(rows, metrics, [name])) + "\n")
    typer.echo("Percent: mean ± sd over subjects [95 % bootstrap interval].")


@app.command()
def predict(
    scan: Annotated[str, typer.Argument(help="A T1 scan, NIfTI (.nii or .nii.gz).")],
    out: Annotated[str, typer.Option(help="Folder for the maps and the report.")],
    mask: Annotated[str, typer.Option(help="Brain mask on the scan's grid; else found.")] = "",
    annotations: Annotated[
        str, typer.Option(help="draem, brats21 or atlas_v2; default: the best.")
    ] = "",
    profile: Profile = "demo",
    run_dir: RunDir = "",
) -> None:
    """Compute the anomaly map of one scan."""
    from sadm_utils.predict import open_finished_run, predict_scan

    run = open_finished_run(_run_folder(profile, run_dir))
    record = predict_scan(scan, out, run, annotations or None, mask or None, show=typer.echo)
    typer.echo(f"Written to {out}:")
    for name in record["files"]:
        typer.echo(f"  {name}")


add_data_commands(app)
add_sweep_commands(app)
add_train_command(app)


@app.command("import-reference")
def import_reference(
    checkpoint: Annotated[str, typer.Argument(help="A .ckpt of the authors' released code.")],
    out: Annotated[str, typer.Option(help="Folder of the stage, e.g. runs/paper/cddpm.")],
) -> None:
    """Turn the authors' weights into a stage."""
    from sadm_utils.reference.stage import import_reference

    record = import_reference(checkpoint, out)
    typer.echo(
        f"{out}: {record['imported']['kind']} of size {record['imported']['size']}, "
        f"{record['metrics']['parameters']:,} parameters, nothing in the file was run."
    )


@app.command()
def doctor(
    run_dir: RunDir = "",
    data_dir: DataDir = "",
) -> None:
    """Check versions, device, memory, disk, data."""
    from sadm_utils.doctor import check_all

    checks = check_all(run_dir, data_dir)
    for check in checks:
        typer.echo(check.line)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def parse_overrides(items: list[str] | None) -> dict[str, Any]:
    """Turn ``["a.b=1", ...]`` into a mapping; values are YAML (``[1, 2]``, ``true``, ``1e-3``).

    Raises
    ------
    UserError
        For an item without an equals sign.
    """
    pairs = {}
    for item in items or []:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"Override {item!r} must look like key=value, e.g. cddpm.width=64.")
        pairs[key.strip()] = _value(value)
    return pairs


def parse_pairs(items: list[str] | None) -> dict[str, Any]:
    """Turn the values of ``-p`` (``NAME=VALUE`` after `split_pairs`) into a mapping.

    Raises
    ------
    UserError
        For an item without a value.
    """
    pairs = {}
    for item in items or []:
        name, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"Parameter {name!r} has no value: write -p {name} VALUE.")
        pairs[name] = _value(value)
    return pairs


def split_pairs(arguments: list[str]) -> list[str]:
    """Join papermill's ``-p NAME VALUE`` into ``-p NAME=VALUE``, as an option takes one value."""
    joined: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word in ("-p", "--parameter") and rest:
            name = rest.pop(0)
            follows = "=" not in name and rest and not rest[0].startswith("--")
            joined.append(f"{name}={rest.pop(0)}" if follows else name)
    return joined


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str) and text.strip()[:1] not in ("'", '"'):
        try:
            return float(value)  # YAML 1.1 takes 1e-3 for a string
        except ValueError:
            return value
    return "" if value is None else value


def _run_folder(profile: str, run_dir: str) -> Path:
    from sadm_utils.book import common_parameters

    return common_parameters(profile, run_dir)[1]


def main(arguments: list[str] | None = None) -> None:
    """Entry point: one sentence and exit code 2 for a user's mistake, 1 for a failure."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the kernel before we end
    words = split_pairs(sys.argv[1:] if arguments is None else arguments)
    try:
        app(words)
    except UserError as error:
        _stop(str(error), 2)
    except Exception as error:
        # Expected failures are sentences already; anything else keeps its traceback.
        codes = {"NotebookFailed": 1, "SiteFailed": 1, "TrainingFailed": 1, "Interrupted": 130}
        code = codes.get(type(error).__name__)
        if code is None:
            raise
        _stop(str(error), code)


def _stop(sentence: str, code: int) -> None:
    print(f"sadm: {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(code)
