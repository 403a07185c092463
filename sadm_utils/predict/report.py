"""The report of one scan: a single HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sadm_utils.data.io import load_nifti, to_canonical, write_atomic
from sadm_utils.data.preprocess import restore_volume
from sadm_utils.predict.numbers import Prediction
from sadm_utils.viz.planes import scan_and_map, three_planes

NO_DEVICE = (
    "This is teaching material and no medical device. The map shows where a small model finds a "
    "scan unusual. It is no diagnosis, it misses lesions, and it marks healthy tissue. "
    "Do not use it for the care of patients."
)
CSS = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:72rem;
margin:0 auto;padding:1rem}
h1{font-size:1.6rem;line-height:1.2;overflow-wrap:anywhere}h2{font-size:1.2rem;margin-top:2rem}
.warning{border-left:.4rem solid #D55E00;background:#fdf1e9;padding:.6rem 1rem;margin:1rem 0}
.note{border-left:.4rem solid #E69F00;background:#fdf8ec;padding:.6rem 1rem;margin:1rem 0}
figure{margin:1rem 0;overflow-x:auto}img{width:100%;min-width:36rem;max-width:76rem;height:auto}
figcaption{color:#444;font-size:.9rem}
.wide{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.25rem .8rem .25rem 0;
text-align:left;vertical-align:top;border-bottom:1px solid #ddd}td{overflow-wrap:anywhere}
code{font-size:.9em;overflow-wrap:anywhere}
"""


def write_report(path: Path, prediction: Prediction, record: dict[str, Any]) -> None:
    """Write the report of a prediction.

    Parameters
    ----------
    path
        The HTML file; it appears complete or not at all.
    prediction
        The maps.
    record
        What ``record.json`` will hold; all numbers come from it.

    Raises
    ------
    UserError
        The disk is full or the folder cannot be written.
    """
    page = render(prediction, record)
    with write_atomic(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8")


def render(prediction: Prediction, record: dict[str, Any]) -> str:
    """The page as text; parameters as in :func:`write_report`."""
    name = html.escape(Path(record["scan"]).name)
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in record["warnings"])
    body = [
        f"<h1>Anomaly map of {name}</h1>",
        f'<p class="warning" role="note"><strong>No medical device.</strong> {NO_DEVICE}</p>',
        notes,
        f"<p>{html.escape(summary(record))}</p>",
        "<h2>Scan, reconstruction and map</h2>",
        _axial_figure(prediction, record),
        "<h2>In the scan's own space</h2>",
        _native_figure(prediction, record),
        "<h2>Numbers</h2>",
        _table(number_rows(record)),
        _regions(record),
        "<h2>How it was made</h2>",
        _steps(record),
        _table(origin_rows(record)),
        "<h2>Files</h2>",
        "<ul>" + "".join(f"<li><code>{html.escape(f)}</code></li>" for f in record["files"])
        + "</ul>",
    ]  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Anomaly map of {name}</title><style>{CSS}</style></head>\n<body>\n<main>"
        + "\n".join(part for part in body if part) + "</main>\n</body></html>\n"
    )  # fmt: skip


def summary(record: dict[str, Any]) -> str:
    """The result in a few sentences."""
    numbers, brain = record["numbers"], record["brain"]
    share = min(brain["examined_ml"] / max(brain["volume_ml"], 1e-9), 1.0)
    source = record["annotations"]
    lesions = "synthetic anomalies" if source == "draem" else "annotated lesions"
    text = (
        f"{record['method']}, trained on {lesions} ({source}), scored "
        f"{brain['examined_ml']:.0f} ml of brain ({100 * share:.0f} % of it; the rest lies outside "
        "of the models' field of view). "
    )
    if record["threshold"] is None:
        return text + (
            "The run has no validation threshold, so the map is shown without a verdict: "
            "run notebook 06 for one."
        )
    return text + (
        f"From the threshold {record['threshold']:.3f} on, {numbers['marked_ml']:.1f} ml "
        f"({100 * numbers['marked_share']:.1f} %) in {numbers['regions']} regions are marked. "
        "Healthy brains have marked voxels, too."
    )


def number_rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the first table."""
    numbers, brain, space = record["numbers"], record["brain"], record["scan_space"]
    rows = [
        ("Mean score in the brain", f"{numbers['mean_score']:.3f}"),
        ("99th percentile", f"{numbers['percentile_99']:.3f}"),
        ("Highest score", f"{numbers['highest_score']:.3f}"),
        ("Brain", f"{brain['volume_ml']:.0f} ml; {brain['note']}"),
        ("Overlap with the MNI152 brain", f"{brain['overlap_with_template']:.3f} (Dice)"),
        ("Likeness to the MNI152 T1", f"{brain['likeness_to_template']:.2f} (correlation)"),
        ("Scan", f"{' × '.join(map(str, space['shape']))} voxels, axes {space['orientation']}"),
    ]
    if record["threshold"] is not None:
        each = ", ".join(f"{k} {v:.3f}" for k, v in record["thresholds_by_set"].items())
        rows.insert(3, ("Threshold", f"{record['threshold']:.3f} (median of: {each})"))
        rows.insert(4, ("Marked", f"{numbers['marked_ml']:.2f} ml in {numbers['regions']} regions"))
    return rows


def origin_rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the table that says which models were used."""
    models = [f"{name}: {parent['identity']}" for name, parent in record["parents"].items()]
    seconds = record["seconds"]
    steps = ", ".join(f"{name} {s:.1f}" for name, s in seconds.items() if name != "total")
    versions = ", ".join(f"{name} {v}" for name, v in record["versions"].items())
    return [
        ("Profile", f"{record['profile']}, trained on: {Path(record['trained_on']).name}"),
        ("Network", f"{record['network']} ({record['chosen']})"),
        ("Stages and identities", "; ".join(models)),
        ("Seconds", f"{seconds['total']:.1f} ({steps})"),
        ("Device", record["device"]),
        ("Versions", f"Python {record['python']}, {versions}; commit {record['commit'] or '–'}"),
    ]


def _steps(record: dict[str, Any]) -> str:
    data, settings = record["settings"]["data"], record["settings"]["evaluation"]
    steps = [
        "The scan was registered to MNI152 (1 mm, affine), its bias field divided out, and "
        "everything outside of the brain set to 0.",
        f"It was smoothed by {data['curvature_steps']} steps of curvature flow, cropped to "
        f"{' × '.join(map(str, data['crop_mm']))} mm, clipped to percentiles "
        f"{' and '.join(f'{p:g}' for p in data['percentiles'])} of the brain, scaled to [0, 1] and "
        f"resampled to {data['voxel_mm']:g} mm, as the training data.",
        "The conditioned diffusion model, which has only seen healthy brains, rebuilt each axial "
        f"slice from the noise levels {', '.join(map(str, record['settings']['levels']))}; the "
        "reconstruction x̂ is the mean.",
        f"The reconstruction map is x̃ = median of 1 − SSIM(x, x̂) over {settings['median']}³ voxels"
        if settings["residual"] == "ssim"
        else f"The reconstruction map x̃ is the {settings['residual']} difference of x and x̂",
        "The segmentation network turned scan and residual into the supervised map ŷ; "
        "the score is x̃ + ŷ.",
        "Score and reconstruction were brought back to the scan's own voxels by linear "
        "interpolation; shape and affine are the scan's.",
    ]
    return "<ol>" + "".join(f"<li>{html.escape(s.rstrip('.'))}.</li>" for s in steps) + "</ol>"


def _axial_figure(prediction: Prediction, record: dict[str, Any]) -> str:
    """Axial slices on the 1 mm MNI grid."""
    registered, grid = prediction.registered, prediction.processed.grid
    brain = registered.mask > 0
    box = _box(brain)
    image = _unit(registered.image, brain)
    maps = [restore_volume(m, grid) * brain
            for m in (prediction.maps.reconstruction, prediction.score)]
    figure = scan_and_map(
        image[box], np.clip(maps[0][box], 0, 1), maps[1][box], threshold=record["threshold"]
    )
    outlined = "; what reaches the threshold is outlined" if record["threshold"] else ""
    return _figure(
        figure,
        "Three rows of axial slices: the scan, its healthy reconstruction, and the anomaly score "
        f"as a color overlay on the scan. Highest score {record['numbers']['highest_score']:.2f}.",
        "The scan in MNI space, front up, the patient's left on the left. Low scores are "
        f"transparent{outlined}. Parts of the brain outside of the models' field of view have "
        "no score.",
    )


def _native_figure(prediction: Prediction, record: dict[str, Any]) -> str:
    """The planes through the most anomalous place, as voxels of the scan itself."""
    affine = prediction.registered.native_affine
    scan = load_nifti(record["scan"]).array
    mask, score = prediction.native["brain_mask"] > 0, prediction.native["anomaly_map"]
    regions = record["numbers"].get("largest_regions")
    peak = regions[0]["voxel"] if regions else np.unravel_index(score.argmax(), score.shape)
    marker = np.zeros(scan.shape, np.uint8)
    marker[tuple(peak)] = 1
    volumes = [to_canonical(v, affine) for v in (_unit(scan, mask), score, marker)]
    box = _box(volumes[0][0] > 0.05)
    image, score, marker = (volume[box] for volume, _ in volumes)
    place = [int(v) for v in np.unravel_index(marker.argmax(), marker.shape)]
    zooms = np.linalg.norm(volumes[0][1][:3, :3], axis=0)
    figure = three_planes(image, score, place, zooms, threshold=record["threshold"])
    where = "largest marked region" if regions else "highest score"
    return _figure(
        figure,
        f"Sagittal, coronal and axial plane of the unregistered scan through the {where}, with the "
        "anomaly score as a color overlay.",
        f"Voxels of the scan itself, through the {where} (white lines, voxel "
        f"{', '.join(str(int(v)) for v in peak)} of the file); axes turned to front and top.",
    )


def _regions(record: dict[str, Any]) -> str:
    regions = record["numbers"].get("largest_regions")
    if not regions:
        return ""
    lines = ["<tr><th>volume (ml)</th><th>highest score</th><th>center in the scan (mm)</th>"
             "<th>center in MNI space (mm)</th></tr>"]
    for region in regions:
        centers = [", ".join(f"{v:.0f}" for v in region[k]) for k in ("center_mm", "center_mni_mm")]
        lines.append(
            f"<tr><td>{region['volume_ml']:.2f}</td><td>{region['highest_score']:.2f}</td>"
            f"<td>{centers[0]}</td><td>{centers[1]}</td></tr>"
        )
    return f'<h3>Largest marked regions</h3><div class="wide"><table>{"".join(lines)}</table></div>'


def _table(rows: list[tuple[str, str]]) -> str:
    lines = (
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _figure(figure: Figure, alt: str, caption: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<figure><img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _box(inside: np.ndarray, margin: int = 4) -> tuple[slice, ...]:
    """The box of the true voxels, with a margin."""
    found = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {a}))) for a in range(3)]
    return tuple(slice(max(int(f[0]) - margin, 0), int(f[-1]) + margin + 1) for f in found)


def _unit(array: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Scale to [0, 1] between 0 and the 99.5th percentile of the voxels ``inside``, for display."""
    top = float(np.percentile(array[inside], 99.5)) or 1.0
    return np.clip(array / top, 0, 1)
