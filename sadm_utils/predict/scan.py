"""From one T1 scan in any orientation to an anomaly map in the scan's own space."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from sadm_utils import device
from sadm_utils.cddpm.training import load_cddpm
from sadm_utils.config import to_dict
from sadm_utils.data.io import orientation_of, write_atomic
from sadm_utils.data.preprocess import Processed
from sadm_utils.data.scan import Registered, process_scan, register_scan, to_native
from sadm_utils.errors import UserError
from sadm_utils.evaluation.scoring import compute_maps
from sadm_utils.predict.finished import (
    INPUTS,
    METHOD,
    Network,
    Threshold,
    choose_network,
    validation_threshold,
)
from sadm_utils.predict.numbers import Prediction, brain_facts, map_numbers, warnings_of
from sadm_utils.predict.report import write_report
from sadm_utils.runs import Run, git_commit, hash_file
from sadm_utils.sadm.fusion import fuse
from sadm_utils.sadm.training import load_network


def predict_scan(
    scan: str | Path,
    out: str | Path,
    run: Run,
    annotations: str | None = None,
    mask: str | Path | None = None,
    show: Callable[[str], None] = print,
    look: Callable[[Prediction], None] | None = None,
) -> dict[str, Any]:
    """Compute the anomaly map of one scan with the models of a finished run.

    The scan is registered to MNI space, processed as the run's own data, reconstructed by its
    cDDPM and scored with SADM_res (paper, section 2.3); map and reconstruction are brought back.
    Writes ``NAME_anomaly_map.nii.gz``, ``NAME_reconstruction.nii.gz`` (in [0, 1]) and
    ``NAME_brain_mask.nii.gz`` with the scan's shape and affine, ``report.html``, and last of all
    ``record.json``: a folder without it is unfinished.

    Parameters
    ----------
    scan
        T1 scan, 3-D NIfTI in any orientation, with or without skull. On another contrast (T2,
        FLAIR) the map means nothing; the header does not tell, so there is a warning at most.
    out
        Folder for the results; one folder holds one scan.
    run
        From :func:`sadm_utils.predict.open_finished_run` (or ``open_run``).
    annotations
        ``draem``, ``brats21`` or ``atlas_v2``; None for the best finished network.
    mask
        Brain mask on the scan's grid. Without one: see ``sadm_utils.data.brain.find_brain``.
    show
        Called with a sentence for each step.
    look
        Called with the arrays of every step, before anything is written.

    Returns
    -------
    dict
        The content of ``record.json``; ``files`` names what was written.

    Raises
    ------
    UserError
        A model is missing, the scan or mask is unfit, or the folder cannot be written.
    """
    scan, out, clock = Path(scan), Path(out), _Clock()
    _check_folder(out, scan)
    network = choose_network(run, annotations)
    threshold = validation_threshold(run, network.annotations)
    model = load_cddpm(run)
    networks = {(network.annotations, INPUTS): load_network(run, network.annotations, INPUTS)}
    clock.lap("load")
    show(f"Registering {scan.name} to MNI space.")
    registered = register_scan(scan, mask)
    processed = _process(registered, run, scan)
    clock.lap("register")
    show(f"Reconstructing {processed.image.shape[2]} slices ({METHOD}, {network.annotations}).")
    maps = compute_maps(
        processed.image, processed.mask, model, networks, run.config.evaluation, run.seed
    )
    score = fuse(maps.residual, maps.supervised[network.annotations, INPUTS])
    native = _in_scan_space(registered, processed, score, maps.reconstruction)
    prediction = Prediction(registered, processed, maps, score, native)
    clock.lap("score")
    if look:
        look(prediction)
    record = _describe(scan, run, network, threshold, prediction)
    for sentence in record["warnings"]:
        show(f"Note: {sentence}")
    return _write(out, scan, prediction, record, clock)


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self.last, 1)
        self.last, self.seconds["total"] = now, round(now - self.start, 1)


def _check_folder(out: Path, scan: Path) -> None:
    """Refuse a folder that holds another scan's results, or a file in its place.

    A scan that was moved, as with its whole run, is the same scan: its content counts.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder for the results.")
    record = out / "record.json"
    if not record.exists():
        return
    try:
        told = json.loads(record.read_text())
        other, content = told["scan"], told.get("scan_sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        other, content = "something else", None
    moved = content is not None and scan.is_file() and content == hash_file(scan)
    if other != str(scan.resolve()) and not moved:
        raise UserError(
            f"{out} already holds the results of {other}: give each scan its own folder."
        )


def _process(registered: Registered, run: Run, scan: Path) -> Processed:
    """Process the registered scan with the very settings of the run's data stage."""
    data = run.config.data
    try:
        return process_scan(
            registered, crop_mm=data.crop_mm, voxel_mm=data.voxel_mm,
            curvature_steps=data.curvature_steps, percentiles=data.percentiles,
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"{scan}: {error}") from error


def _in_scan_space(
    registered: Registered, processed: Processed, score: np.ndarray, reconstruction: np.ndarray
) -> dict[str, np.ndarray]:
    """Bring the maps back to the scan's voxels, cut at the scan's own brain mask."""

    def back(volume: np.ndarray) -> np.ndarray:
        return np.asarray(to_native(volume, registered, processed.grid).dataobj)

    brain = registered.brain.array
    if brain is None:
        brain = np.asarray(to_native(registered.mask, registered).dataobj) > 0.5
    inside = brain & (back(np.ones_like(score)) > 0.5)
    if not inside.any():
        raise UserError("The models' field of view holds nothing of this brain: check the scan.")
    rebuilt = np.clip(back(reconstruction), 0, 1) * inside
    return {
        "anomaly_map": (np.maximum(back(score), 0) * inside).astype(np.float32),
        "reconstruction": rebuilt.astype(np.float32),
        "brain_mask": inside.astype(np.uint8),
    }


def _describe(
    scan: Path, run: Run, network: Network, threshold: Threshold, prediction: Prediction
) -> dict[str, Any]:
    """The record of a prediction, but for its files and seconds."""
    facts, phantom = brain_facts(prediction), run.data_dir is None
    affine = prediction.registered.native_affine
    return {
        "scan": str(scan.resolve()),
        "scan_sha256": hash_file(scan),
        "scan_space": {
            "shape": list(prediction.registered.native_shape),
            "affine": affine.tolist(),
            "orientation": orientation_of(affine),
        },
        "method": METHOD,
        "annotations": network.annotations,
        "network": network.stage,
        "chosen": network.reason,
        "threshold": threshold.value,
        "thresholds_by_set": threshold.by_set,
        "warnings": warnings_of(facts, phantom),
        "numbers": map_numbers(prediction, threshold.value),
        "brain": facts,
        "run": str(run.path),
        "profile": run.config.profile,
        "trained_on": "phantom cohort" if phantom else str(run.data_dir),
        "seed": run.seed,
        "parents": {name: _parent(run, name) for name in ("data", "cddpm", network.stage)},
        "settings": {
            "data": to_dict(run.config.data),
            "levels": list(run.config.cddpm.levels),
            "evaluation": to_dict(run.config.evaluation),
        },
        "commit": git_commit(),
        "device": device.device_name(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "numpy", "nibabel", "SimpleITK")},
    }  # fmt: skip


def _parent(run: Run, name: str) -> dict[str, Any]:
    record = run.require(name)
    return {key: record[key] for key in ("identity", "weights_sha256", "finished", "commit")}


def _write(
    out: Path, scan: Path, prediction: Prediction, record: dict[str, Any], clock: _Clock
) -> dict[str, Any]:
    """Write the images, the report, and last of all the record."""
    (out / "record.json").unlink(missing_ok=True)
    name = scan.name.removesuffix(".gz").removesuffix(".nii")
    images = {f"{name}_{part}.nii.gz": array for part, array in prediction.native.items()}
    header = nib.load(scan).header
    for file, array in images.items():
        _save_like(out / file, array, header, prediction.registered.native_affine)
    clock.lap("write")
    record |= {"files": [*images, "report.html", "record.json"], "seconds": clock.seconds}
    write_report(out / "report.html", prediction, record)
    clock.lap("report")
    with write_atomic(out / "record.json") as temporary:
        Path(temporary).write_text(json.dumps(record, indent=2), encoding="utf-8")
    return record


def _save_like(path: Path, array: np.ndarray, header: Any, affine: np.ndarray) -> None:
    """Write ``array`` with the scan's own orientation codes, and nothing else of its header."""
    image = nib.Nifti1Image(array, affine)
    if hasattr(header, "get_sform"):
        for part in ("sform", "qform"):
            matrix, code = getattr(header, f"get_{part}")(coded=True)
            getattr(image, f"set_{part}")(matrix, int(code))
    if not np.array_equal(image.affine, affine):
        image.set_sform(affine, "scanner")
    image.header.set_xyzt_units("mm")
    image.header["cal_max"] = float(array.max())
    with write_atomic(path, ".nii.gz") as temporary:
        with nib.openers.Opener(temporary, "wb", compresslevel=4) as stream:
            image.to_stream(stream)
