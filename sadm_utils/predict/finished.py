"""Find the models of a finished run, and the threshold that goes with them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadm_utils.config import Config, flatten, load_config, to_dict
from sadm_utils.errors import UserError
from sadm_utils.evaluation.stage import SYNTHETIC, finished_networks
from sadm_utils.evaluation.tables import read_results
from sadm_utils.runs import Run, read_record
from sadm_utils.sadm.training import INPUTS as BOTH_INPUTS
from sadm_utils.sadm.training import SET_OF_ANNOTATIONS, stage_name
from sadm_utils.stages import read_header

METHOD = "SADM_res"
INPUTS = "residual"


@dataclass(frozen=True)
class Network:
    """The segmentation network to use: its source of ``annotations``, and why it was chosen."""

    annotations: str
    reason: str

    @property
    def stage(self) -> str:
        """Name of its stage in the run folder."""
        return stage_name(self.annotations, INPUTS)


@dataclass(frozen=True)
class Threshold:
    """Scores from ``value`` on count as anomalous; ``None`` if the run has no threshold.

    ``by_set`` holds the threshold that fits the validation patients of each test set best; their
    median is the value, as nobody knows which disease a new scan shows.
    """

    value: float | None
    by_set: dict[str, float]


def open_finished_run(folder: str | Path) -> Run:
    """Open a run folder as it was made: profile, overrides, seed and data from its own records.

    Raises
    ------
    UserError
        The folder holds no finished diffusion model; the sentence says how to make one.
    """
    path = Path(folder).expanduser().resolve()
    record = path / "cddpm" / "record.json"
    if not record.is_file():
        raise UserError(
            f"{path} holds no finished models (stage 'cddpm'): run the notebooks 01 to 05 first "
            "(`sadm book` runs all), or name the folder of a finished run with --run-dir."
        )
    known = flatten(to_dict(Config()))
    overrides: dict[str, Any] = {}
    data_dir = ""
    networks = (stage_name(s, inputs) for s in SET_OF_ANNOTATIONS for inputs in BOTH_INPUTS)
    for name in ("data", "spark", "cddpm", *networks, "evaluation"):
        settings = _settings(path / name)
        data_dir = settings.pop("DATA_DIR", data_dir)
        for key, value in settings.items():
            if key in known:
                overrides.setdefault(key, value)
    made = read_record(record)
    config = load_config(made["profile"], overrides)
    return Run(path, config, Path(data_dir) if data_dir else None, made["seed"])


def choose_network(run: Run, annotations: str | None = None) -> Network:
    """Choose the network trained on ``annotations``; without them the best finished one.

    The best is the one with the highest Dice at the validation threshold, averaged over the test
    sets of real lesions; without an evaluation, the first finished of draem, brats21, atlas_v2.

    Raises
    ------
    UserError
        The annotations are unknown, or no such network is finished.
    """
    if annotations:
        run.require(stage_name(annotations, INPUTS))
        return Network(annotations, "asked for")
    finished = [source for source, inputs in finished_networks(run) if inputs == INPUTS]
    if not finished:
        run.require(stage_name("draem", INPUTS))
    rows = _evaluation(run)[0]
    if len(rows):
        chosen = rows[
            (rows["method"] == METHOD) & (rows["metric"] == "dice")
            & (rows["test_set"] != SYNTHETIC) & rows["annotations"].isin(finished)
        ]  # fmt: skip
        mean = chosen.groupby("annotations")["mean"].mean().dropna()
        if len(mean):
            return Network(str(mean.idxmax()), "the best in this run's evaluation")
    return Network(finished[0], "the first finished network, as this run has no evaluation")


def validation_threshold(run: Run, annotations: str) -> Threshold:
    """Threshold of SADM_res from the validation patients of the run's evaluation, if it has one."""
    by_set = {
        row["test_set"]: float(row["threshold"])
        for row in _evaluation(run)[1].get("thresholds", [])
        if row["method"] == METHOD and row["annotations"] == annotations
        and row["test_set"] != SYNTHETIC
    }  # fmt: skip
    return Threshold(statistics.median(by_set.values()) if by_set else None, by_set)


def _settings(stage: Path) -> dict[str, Any]:
    """Settings of a finished stage with dotted keys; none if it is not finished."""
    if not (stage / "record.json").is_file():
        return {}
    return flatten(read_header(stage / "config.yaml").settings)


def _evaluation(run: Run) -> tuple[Any, dict[str, Any]]:
    """Rows and extras of the evaluation; empty if there is none that fits the run's networks."""
    try:
        run.require("evaluation")
    except UserError:
        return [], {}
    return read_results(run.path / "evaluation")
