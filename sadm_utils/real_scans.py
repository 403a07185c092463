"""The page "On real scans": the results of another run of the book, if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sadm_utils.evaluation import narrate
from sadm_utils.evaluation.scoring import VolumeMaps, scores
from sadm_utils.evaluation.stage import SYNTHETIC, kept_case
from sadm_utils.evaluation.tables import read_results, read_subjects, results_table, to_markdown
from sadm_utils.records import read_header, read_record
from sadm_utils.report import duration
from sadm_utils.viz.slices import compare_methods

MARK = "<!-- results on real scans -->"
SHOWN = ("Intensity", "cDDPM", "Unet_res", "SADM_res")
NOTHING = (
    ":::{note}\nThis copy of the book was built without real scans, so there is nothing to show "
    "here. The commands below fill this page.\n:::"
)


def fill_real_scans(text: str, run: Path, folder: Path) -> str:
    """Put the results of the run into the place of their mark, its pictures into ``folder``."""
    if MARK not in text:
        return text
    if not (run / "evaluation" / "record.json").exists():
        return text.replace(MARK, NOTHING)
    rows, extra = read_results(run / "evaluation")
    subjects = read_subjects(run / "evaluation")
    sets = list(dict.fromkeys(rows["test_set"]))
    parts = [
        _made_with(run),
        to_markdown(_cohort(run)),
        "## What was measured",
        "⌈Dice⌉ in percent: mean ± standard deviation over subjects, and the 95 % bootstrap "
        "interval of the mean where there is more than one.",
        to_markdown(results_table(rows, ("best_dice",))),
        narrate.findings_words(extra["findings"], subjects),
        "\n".join(f"- {narrate.set_words(subjects, name)}" for name in sets),
        "## What it looks like",
        *_pictures(run, folder),
    ]
    return text.replace(MARK, "\n\n".join(parts))


def _made_with(run: Path) -> str:
    record, stage = (read_record(run / n / "record.json") for n in ("evaluation", "cddpm"))
    l1 = record["metrics"]["healthy_l1"]
    return (
        f"Made on {record['finished'][:10]} with profile `{record['profile']}` on "
        f"{record['device']}, commit {record['commit']}; the diffusion model learned for "
        f"{stage['metrics']['epochs']} epochs in {duration(stage['duration_s'])}. The l1 error "
        f"inside the brains of healthy test subjects is {l1:.4f}."
    )


def _cohort(run: Path) -> pd.DataFrame:
    """Subjects, ages and lesions of each list."""
    manifest = pd.read_csv(run / "data" / "manifest.csv")
    lines = []
    for split, part in manifest.groupby("split", sort=False):
        ages = part["age"].dropna()
        sick = part[part["lesion_voxels"] > 0]
        lines.append({
            "list": split,
            "subjects": len(part),
            "ages": f"{ages.min():.0f}–{ages.max():.0f}" if len(ages) else "not given",
            "with a lesion": len(sick),
        })  # fmt: skip
    return pd.DataFrame(lines)


def _pictures(run: Path, folder: Path) -> Iterator[str]:
    """Maps of one kept subject of each test set; a picture and its words."""
    median = read_header(run / "evaluation" / "config.yaml").settings["evaluation"]["median"]
    for path in sorted((run / "evaluation" / "maps").glob("*"), key=lambda p: p.name == SYNTHETIC):
        if (maps := kept_case(path)) is None:
            continue
        name = f"real_{path.name}.png"
        _picture(maps, median).savefig(folder / name)
        kind = "a synthetic anomaly" if path.name == SYNTHETIC else "the annotated lesions"
        words = f"{path.name}, subject {maps.subject}: {int(maps.seg.sum())} voxels of {kind}"
        yield f"```{{image}} {name}\n:alt: {words}, outlined, with the score of each method.\n```"
        yield f"*{words} (outlined).*"


def _picture(maps: VolumeMaps, median: int) -> Figure:
    shown = {
        f"{method} {source}".strip(): score
        for method, source, score in scores(maps, median)
        if method in SHOWN
    }
    return compare_methods(maps.image, shown, maps.seg, reconstruction=maps.reconstruction)
