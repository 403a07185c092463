"""The command ``sadm train``: compute one stage without its notebook, alone or with others.

``python -m sadm_utils.train`` is the same command, for ``torchrun``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Annotated, Any

import typer

from sadm_utils.errors import UserError


def add_train_command(app: typer.Typer) -> None:
    """Add the command of this module to the command ``sadm``."""
    app.command()(train)


def train(
    stage: Annotated[str, typer.Argument(help="spark, cddpm, sadm, or a comparison method.")],
    annotations: Annotated[
        str, typer.Option(help="For sadm: draem, brats21 or atlas_v2.")
    ] = "draem",
    profile: Annotated[str, typer.Option(help="smoke, demo or paper.")] = "demo",
    run_dir: Annotated[
        str, typer.Option(help="Where stages are; default as for 'sadm book'.")
    ] = "",
    data_dir: Annotated[
        str, typer.Option(help="A data set; default: the built-in phantom cohort.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 0,
    override: Annotated[
        list[str] | None,
        typer.Option("--override", "-o", help="E.g. -o cddpm.train.devices=4; repeatable."),
    ] = None,
) -> None:
    """Train one stage without its notebook: on one device, or under srun or torchrun."""
    from sadm_utils import processes
    from sadm_utils.cli import parse_overrides
    from sadm_utils.runs import open_run

    compute, overrides = _stages().get(stage), parse_overrides(override)
    if compute is None:
        raise UserError(f"Unknown stage {stage!r}: choose one of {', '.join(_stages())}.")
    if (place := processes.started_together()) is not None:
        for name, number in zip(("devices", "nodes"), place, strict=True):
            key = f"{_section(stage)}.{name}"
            if overrides.setdefault(key, number) != number:
                raise UserError(
                    f"{key} is {overrides[key]}, but this was started with {number}: make them "
                    "agree, or leave the setting out."
                )
    _end_with_launcher()
    with processes.together():
        compute(open_run(profile, run_dir, data_dir, seed, overrides), annotations)


def _section(stage: str) -> str:
    """Where the training of a stage stands in the configuration."""
    from sadm_utils.baselines.registry import METHODS, method_class

    return f"baselines.{method_class(stage).schedule}" if stage in METHODS else f"{stage}.train"


def _stages() -> dict[str, Any]:
    """What computes each stage that is trained, called with the run and the annotations."""
    from sadm_utils.baselines.registry import METHODS
    from sadm_utils.baselines.training import train_baseline
    from sadm_utils.cddpm.training import train_cddpm
    from sadm_utils.sadm.training import train_sadm
    from sadm_utils.spark.training import train_spark

    return {
        "spark": lambda run, _: train_spark(run),
        "cddpm": lambda run, _: train_cddpm(run),
        "sadm": train_sadm,
        **{name: lambda run, _, name=name: train_baseline(run, name) for name in METHODS},
    }


def _end_with_launcher() -> None:
    """End this process when the one that started it has ended, however that was."""
    from sadm_utils.launch import PARENT_VARIABLE

    launcher = os.environ.get(PARENT_VARIABLE)
    if launcher is None:
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(0.5)
        os._exit(1)  # as killed as the launcher; an exception would wait for the others

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    from sadm_utils.cli import main

    main(["train", *sys.argv[1:]])
