"""Turn a checkpoint of the released code into a finished stage of a run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sadm_utils.cddpm.schedule import cosine_betas, signal_and_noise_rates
from sadm_utils.config import Config, flatten, to_dict
from sadm_utils.errors import UserError
from sadm_utils.records import read_record
from sadm_utils.reference.checkpoint import load_reference_checkpoint
from sadm_utils.reference.load import find_kind, find_size, load_reference
from sadm_utils.reference.models import SIZES, ReleasedDiffusion, ReleasedSadm
from sadm_utils.runs import git_commit
from sadm_utils.sadm.training import INPUTS, SET_OF_ANNOTATIONS, stage_name
from sadm_utils.stages import Stage

STAGE_OF_KIND = {"spark": "spark", "cddpm": "cddpm"}
TRAINED_SADM = [stage_name(source, INPUTS[1]) for source in SET_OF_ANNOTATIONS]


def import_reference(checkpoint: str | Path, out: str | Path) -> dict[str, Any]:
    """Write the weights of a released checkpoint as a finished stage.

    Parameters
    ----------
    checkpoint
        A ``.ckpt`` of ``DDPM_2D``, ``SADM_2D`` or ``Spark_2D``; its size is found out.
    out
        Folder of the stage: ``RUN_DIR/cddpm``, ``RUN_DIR/spark``, or for a ``SADM_2D``
        ``RUN_DIR/sadm-<annotations>-residual``. A ``SADM_2D`` holds its own diffusion model, which
        goes to ``RUN_DIR/cddpm``.

    Returns
    -------
    dict
        The record of the stage; under ``imported`` it says which file it came from.

    Raises
    ------
    UserError
        If the checkpoint is refused, the folder has another name or exists, or the diffusion model
        in ``RUN_DIR`` is not the one of the checkpoint.
    """
    checkpoint, out = Path(checkpoint), Path(out).expanduser().resolve()
    state = load_reference_checkpoint(checkpoint)
    kind, state = find_kind(state), state.get("state_dict", state)
    if kind == "spark":
        state = {key.removeprefix("model."): tensor for key, tensor in state.items()}
    size = find_size(kind, state)
    model = load_reference(kind, state, size)
    _check_schedule(model)
    _check_folder(kind, out)
    origin = {
        "file": checkpoint.name, "sha256": _sha256(checkpoint), "kind": kind, "size": size,
    }  # fmt: skip
    if not isinstance(model, ReleasedSadm):
        return _write(out, kind, size, model, {}, origin)
    cddpm = _import_cddpm(out.parent / "cddpm", model.cddpm, size, origin)
    return _write(out, kind, size, model.network, {"cddpm": cddpm["identity"]}, origin)


def structure(kind: str, size: str) -> dict[str, Any]:
    """Settings that a run needs to use imported weights, nested as in a configuration.

    Settings of the training are left out: they are not known, and any will do.
    """
    parts = {
        "spark": ("encoder.width", "spark.patch", "spark.decoder_width"),
        "cddpm": ("encoder.width", "cddpm.blocks", "cddpm.groups", "cddpm.timesteps"),
        "sadm": ("sadm.width", "sadm.depth"),
    }[kind]
    flat = flatten(to_dict(Config()))
    settings = {key: flat[key] for key in parts}
    if kind != "sadm":
        settings["encoder.depth"] = SIZES[size].depth
    if kind == "cddpm":
        settings["cddpm.width"] = SIZES[size].width
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        room, name = key.split(".")
        nested.setdefault(room, {})[name] = value
    return nested


def _import_cddpm(
    folder: Path, model: ReleasedDiffusion, size: str, origin: dict[str, str]
) -> dict[str, Any]:
    """Write the diffusion model of a SADM_2D, or find that the one in the run is the same."""
    if not (folder / "record.json").exists():
        return _write(folder, "cddpm", size, model, {}, origin)
    record = read_record(folder / "record.json")
    own = Stage("cddpm", folder, {}, record["parents"], {}).load_weights()
    theirs = model.state_dict()
    if own.keys() != theirs.keys() or any(not torch.equal(own[k], theirs[k]) for k in theirs):
        raise UserError(
            f"{folder} holds another diffusion model than the one in the checkpoint, which its "
            "segmentation network was trained with: choose a folder in another run for --out."
        )
    return record


def _write(
    out: Path,
    kind: str,
    size: str,
    model: nn.Module,
    parents: dict[str, str],
    origin: dict[str, str],
) -> dict[str, Any]:
    settings = {**structure(kind, size), "imported": origin["sha256"]}
    provenance = {"profile": "paper", "seed": 0, "commit": git_commit(), "imported": origin}
    stage = Stage(out.name, out, settings, parents, provenance)
    try:
        stage.begin()
        parameters = sum(p.numel() for p in model.parameters())
        return stage.finish({"parameters": parameters}, model.state_dict())
    finally:
        stage.release()


def _check_folder(kind: str, out: Path) -> None:
    valid = [STAGE_OF_KIND[kind]] if kind in STAGE_OF_KIND else TRAINED_SADM
    if out.name not in valid:
        raise UserError(
            f"The checkpoint is a {kind}: --out must be a folder {' or '.join(valid)} in a run "
            f"folder, not {out}."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty: choose another run folder for --out, or move it.")


def _check_schedule(model: nn.Module) -> None:
    """A stage does not store the schedule, so it must be the book's."""
    diffusion = getattr(getattr(model, "cddpm", model), "diffusion", None)
    if diffusion is None:
        return
    expected = signal_and_noise_rates(cosine_betas(1000))
    for own, value in zip((diffusion.signal_rate, diffusion.noise_rate), expected, strict=True):
        if not torch.allclose(own, value, atol=1e-5):
            raise UserError(
                "The checkpoint was trained with another noise schedule than the cosine schedule "
                "of 1000 steps, which is the only one that a stage can have."
            )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
