"""Results as tidy rows, as tables to read, and as files.

One row is one (method, annotations, test_set, metric) with mean, sd, low, high, n; shares are
fractions in [0, 1] and become percentages only when they are shown, distances are in mm.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sadm_utils.errors import UserError
from sadm_utils.evaluation.lesions import SIZES
from sadm_utils.evaluation.statistics import ROW_COLUMNS
from sadm_utils.runs import write_atomic

METRIC_NAMES = {
    "best_dice": "⌈Dice⌉",
    "pooled_best_dice": "pooled ⌈Dice⌉",
    "dice": "Dice",
    "dice_fpr1": "Dice at 1 % FPR",
    "dice_fpr5": "Dice at 5 % FPR",
    "dice_fpr10": "Dice at 10 % FPR",
    "auprc": "AUPRC",
    "auprc_brain": "AUPRC in the brain",
    "pooled_auprc": "pooled AUPRC",
    "auroc": "AUROC",
    "auroc_brain": "AUROC in the brain",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "specificity_brain": "specificity in the brain",
    "detection_auroc": "detection AUROC",
    "slice_auroc": "slice AUROC",
    "lesion_sensitivity": "lesion sensitivity",
    "lesion_precision": "lesion precision",
    "lesion_f1": "lesion F1",
    **{
        f"lesion_{rate.lower()}_{size}": f"lesion {rate}, {size}"
        for size in SIZES
        for rate in ("sensitivity", "precision", "F1")
    },
    "hd95": "HD95 in mm",
    "assd": "ASSD in mm",
    "l1_healthy": "l1 error, healthy",
    "l1_lesion": "l1 error, lesion",
    "l1_ratio": "l1 error, ratio",
}
"""Every metric that is measured, by its name in the files; all are defined in book/protocols.md."""
LOWER_IS_BETTER = ("hd95", "assd", "l1_healthy")
NO_PERCENTAGE = {"hd95": 1, "assd": 1, "l1_healthy": 4, "l1_lesion": 4, "l1_ratio": 2}
"""Digits after the point of what is no share."""
NOTHING = "–"
BETA_SUBJECTS = ("annotations", "test_set", "subject", "beta", "best_dice")
"""Columns of ``beta_subjects.csv``."""


def format_value(
    mean: float,
    sd: float = math.nan,
    low: float = math.nan,
    high: float = math.nan,
    percent: bool = True,
    places: int = 4,
) -> str:
    """Write ``58.6 ± 0.8 [56.1, 60.9]``; parts that are ``nan`` are left out.

    What is no percentage has so many ``places`` after the point.
    """
    if math.isnan(mean):
        return NOTHING
    factor, digits = (100, 1) if percent else (1, places)
    text = f"{factor * mean:.{digits}f}"
    if not math.isnan(sd):
        text += f" ± {factor * sd:.{digits}f}"
    if not (math.isnan(low) or math.isnan(high)):
        text += f" [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
    return text


def results_table(
    rows: pd.DataFrame,
    metrics: Sequence[str] = ("best_dice", "auprc"),
    test_sets: Sequence[str] | None = None,
    interval: bool = True,
) -> pd.DataFrame:
    """Lay tidy rows out as the paper's Table 1: a method a line, a (test set, metric) a column.

    Parameters
    ----------
    rows : DataFrame
        As from `sadm_utils.evaluation.statistics.summarize`.
    metrics, test_sets : sequence of str
        Which columns; all test sets by default.
    interval : bool
        Show the bootstrap interval behind mean ± sd.

    Returns
    -------
    DataFrame of strings with columns method, annotations, and "SET ⌈Dice⌉" and so on.
    """
    _check_columns(rows)
    test_sets = list(dict.fromkeys(rows["test_set"])) if test_sets is None else list(test_sets)
    table: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows.to_dict("records"):
        line = table.setdefault((row["method"], row["annotations"]), {})
        bounds = (row["low"], row["high"]) if interval else ()
        places = NO_PERCENTAGE.get(row["metric"])
        how = {} if places is None else {"percent": False, "places": places}
        cell = format_value(row["mean"], row["sd"], *bounds, **how)
        line[f"{row['test_set']} {row['metric']}"] = cell
    lines = []
    for (method, annotations), line in table.items():
        empty = annotations is None or annotations != annotations or annotations == ""
        cells = {"method": method, "annotations": NOTHING if empty else annotations}
        for name in test_sets:
            for metric in metrics:
                title = f"{name} {METRIC_NAMES.get(metric, metric)}"
                cells[title] = line.get(f"{name} {metric}", NOTHING)
        if any(cell != NOTHING for cell in list(cells.values())[2:]):
            lines.append(cells)
    return pd.DataFrame(lines)


def to_text(table: pd.DataFrame) -> str:
    """Align a table of strings in columns for a terminal."""
    grid = [list(map(str, table.columns)), *table.astype(str).values.tolist()]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    rule = ["-" * width for width in widths]
    lines = [grid[0], rule, *grid[1:]]
    padded = (
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def to_markdown(table: pd.DataFrame) -> str:
    """Write a table of strings as Markdown; text columns left, numbers right."""
    columns = [str(column) for column in table.columns]
    rule = [":--" if c.startswith(("method", "annotations")) else "--:" for c in columns]
    lines = [columns, rule, *table.astype(str).values.tolist()]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in x)} |" for x in lines)


def write_results(
    folder: Path | str,
    rows: pd.DataFrame,
    extra: dict[str, Any] | None = None,
    subjects: pd.DataFrame | None = None,
) -> None:
    """Write ``results.json`` and ``results.csv``, and ``subjects.csv`` if given.

    Parameters
    ----------
    folder : Path
        The evaluation stage; made if missing. Every file is replaced as a whole.
    rows : DataFrame
        Tidy summary rows.
    extra : dict
        Further keys of the JSON (beta curve, thresholds, healthy error ...): plain Python or
        numpy values. ``nan`` becomes ``null``, so the file is standard JSON.
    subjects : DataFrame
        One value a subject, for comparisons later.
    """
    _check_columns(rows)
    if extra and "rows" in extra:
        raise ValueError('"rows" is taken by the table itself')
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"rows": rows[list(ROW_COLUMNS)].to_dict("records"), **(extra or {})}
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / "results.csv", rows[list(ROW_COLUMNS)].to_csv(index=False))
    if subjects is not None:
        write_atomic(folder / "subjects.csv", subjects.to_csv(index=False))
    write_atomic(folder / "results.json", text + "\n")


def write_beta_subjects(folder: Path, values: pd.DataFrame) -> None:
    """Write ``beta_subjects.csv``: ⌈Dice⌉ of each subject at each weight β, to four digits.

    Parameters
    ----------
    values : DataFrame
        Columns `BETA_SUBJECTS`, or nothing at all where there is no network to weight.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = values.reindex(columns=list(BETA_SUBJECTS)).round({"best_dice": 4})
    write_atomic(folder / "beta_subjects.csv", table.to_csv(index=False))


def read_results(folder: Path | str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read ``results.json`` back as (rows, extra).

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    path = Path(folder) / "results.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = pd.DataFrame(content.pop("rows"), columns=list(ROW_COLUMNS))
    except FileNotFoundError:
        raise UserError(f"There is no {path}: run notebooks/06_evaluation.ipynb first.") from None
    except (ValueError, KeyError, AttributeError, OSError):
        raise UserError(f"{path} is damaged: rerun notebooks/06_evaluation.ipynb.") from None
    numbers = ["mean", "sd", "low", "high"]
    rows[numbers] = rows[numbers].astype(float)
    return rows, content


def read_subjects(folder: Path | str) -> pd.DataFrame:
    """Read ``subjects.csv`` back: one value per subject, row of the table, test set and metric.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    path = Path(folder) / "subjects.csv"
    try:
        frame = pd.read_csv(path, dtype={"subject": str})  # names may look like numbers
        return frame.fillna({"annotations": ""})
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"{path} is missing or damaged: rerun notebooks/06_evaluation.ipynb."
        ) from None


def _check_columns(rows: pd.DataFrame) -> None:
    missing = [name for name in ROW_COLUMNS if name not in rows.columns]
    if missing:
        raise ValueError(f"the results lack the columns {missing}")


def _plain(value: Any) -> Any:
    """Turn numpy scalars and arrays, nested, into plain JSON values."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
