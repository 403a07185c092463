"""Read and write NIfTI volumes, and say in one sentence what is wrong with a file.

Arrays keep NIfTI order (X, Y, Z); affines map voxel indices to millimeters (RAS, as nibabel does).
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from sadm_utils.errors import UserError, write_error

_BROKEN_FILE = (
    EOFError, OSError, ValueError, zlib.error, ImageFileError, HeaderDataError, OverflowError
)

OVERFLOW = 30000
"""A 16-bit file without scaling that reaches this far on both sides has wrapped around."""


@dataclass(frozen=True)
class Scan:
    """A volume in memory.

    Attributes
    ----------
    array
        (X, Y, Z) float32, finite.
    affine
        (4, 4) voxel index to millimeter.
    zooms
        Voxel size in millimeters along the three array axes.
    """

    array: np.ndarray
    affine: np.ndarray
    zooms: tuple[float, float, float]


def load_nifti(path: str | Path, *, canonical: bool = False) -> Scan:
    """Read one 3-D NIfTI volume.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz`` file. Singleton dimensions after the third are dropped.
    canonical
        Flip and permute the axes to the closest RAS orientation.

    Raises
    ------
    UserError
        The file is missing, empty, truncated, no NIfTI, not 3-D, or holds NaN or infinite values,
        or integers that ran over.
    """
    path = Path(path)
    image = _open(path)
    try:
        if path.name.endswith(".nii.gz"):  # all of it, so that its checksum is verified
            image = type(image).from_bytes(gzip.decompress(path.read_bytes()))
        data = np.asanyarray(image.dataobj)
    except _BROKEN_FILE as error:
        raise UserError(
            f"{path} is truncated or damaged ({_reason(error)}): copy or download the file again."
        ) from error
    if data.dtype.names is not None or np.iscomplexobj(data):
        raise UserError(f"{path} holds colors or complex numbers: give a grayscale T1 volume.")
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3 or min(data.shape) < 2:
        raise UserError(
            f"{path} has shape {data.shape}, not three dimensions (X, Y, Z): "
            "extract one volume and save it as its own file."
        )
    _check_range(data, path)
    array, affine = data.astype(np.float32), np.asarray(image.affine, dtype=np.float64)
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise UserError(
            f"{path} holds {bad} NaN or infinite voxels: replace them (for example with 0) "
            "and save the file again."
        )
    zooms = nib.affines.voxel_sizes(affine)
    if not np.all(np.isfinite(affine)) or np.any(zooms < 1e-3):
        raise UserError(f"{path} has no valid affine: write its voxel size into the NIfTI header.")
    if canonical:
        array, affine = to_canonical(array, affine)
        zooms = nib.affines.voxel_sizes(affine)
    x, y, z = (float(size) for size in zooms)
    return Scan(array, affine, (x, y, z))


def load_label(
    file: str | Path,
    name: str,
    path: str | Path,
    scan: Scan,
    values: tuple[int, ...] = (),
    *,
    canonical: bool = False,
) -> np.ndarray:
    """Read a mask on the grid of a scan, as bool: the given values, or all above one half.

    Parameters
    ----------
    file, name
        The mask, and what it is (``brain mask``), for messages.
    path, scan
        The scan's file, and what :func:`load_nifti` has read from it, ``canonical`` or not.
    values
        Values that count; by default all but 0.

    Raises
    ------
    UserError
        The file is unfit, lies on another grid, or marks nothing.
    """
    label = load_nifti(file, canonical=canonical)
    if label.array.shape != scan.array.shape or not np.allclose(
        label.affine, scan.affine, atol=0.5 * max(scan.zooms)
    ):
        raise UserError(
            f"The {name} {file} (shape {label.array.shape}) does not lie on the grid of {path} "
            f"(shape {scan.array.shape}): resample it to the scan's grid."
        )
    marked = np.isin(np.rint(label.array), values) if values else label.array > 0.5
    if not marked.any():
        raise UserError(f"The {name} {file} is empty: give one that marks it, or leave it out.")
    return marked


def to_canonical(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flip and permute (X, Y, Z) to the closest RAS orientation; no interpolation."""
    orientation = nib.io_orientation(affine)
    moved = np.ascontiguousarray(nib.apply_orientation(array, orientation))
    return moved, affine @ nib.orientations.inv_ornt_aff(orientation, array.shape)


def orientation_of(affine: np.ndarray) -> str:
    """Name of the array axes, such as ``RAS``."""
    return "".join(nib.aff2axcodes(affine))


def describe(path: str | Path) -> dict[str, str]:
    """Shape, spacing (mm) and orientation of a file, from its header alone."""
    image = _open(Path(path))
    zooms = nib.affines.voxel_sizes(image.affine)
    return {
        "shape": "x".join(map(str, image.shape)),
        "spacing": "x".join(f"{zoom:g}" for zoom in np.round(zooms, 4)),
        "orientation": orientation_of(image.affine),
    }


def save_nifti(
    path: str | Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    dtype: np.dtype | type | None = None,
) -> Path:
    """Write ``array`` as NIfTI so that the file appears complete or not at all.

    Parameters
    ----------
    path
        Target, ``.nii`` or ``.nii.gz``; its folder is created.
    array
        (X, Y, Z); bool becomes uint8, float64 becomes float32.
    affine
        (4, 4) voxel index to millimeter.
    dtype
        Type on disk; by default the array's own. Integers round.

    Raises
    ------
    UserError
        The disk is full or the folder cannot be written.
    """
    path = Path(path)
    array = np.asarray(array)
    if dtype is None:
        dtype = {"bool": np.uint8, "float64": np.float32, "int64": np.int32}.get(
            array.dtype.name, array.dtype
        )
    if np.issubdtype(dtype, np.integer) and np.issubdtype(array.dtype, np.floating):
        array = np.rint(array)
    image = nib.Nifti1Image(array.astype(dtype), affine)
    image.header.set_xyzt_units("mm")
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    with write_atomic(path, suffix) as temporary:
        if suffix == ".nii.gz":
            with nib.openers.Opener(temporary, "wb", compresslevel=1) as stream:
                image.to_stream(stream)
        else:
            nib.save(image, temporary)
    return path


class write_atomic:
    """Context that yields a temporary name beside ``path`` and renames it on success.

    A full disk or a folder without write permission becomes a :class:`UserError`.
    """

    def __init__(self, path: str | Path, suffix: str = "") -> None:
        self.path, self.suffix, self.temporary = Path(path), suffix, ""

    def __enter__(self) -> str:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, self.temporary = tempfile.mkstemp(
                suffix=self.suffix, prefix=f".{self.path.name}.", dir=self.path.parent
            )
        except OSError as error:
            raise write_error(self.path, error) from error
        os.close(handle)
        os.chmod(self.temporary, 0o644)
        return self.temporary

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                os.replace(self.temporary, self.path)
                return
            except OSError as failed:
                error = failed
        Path(self.temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(self.path, error) from error


def _open(path: Path) -> nib.spatialimages.SpatialImage:
    """Open the header, with one sentence for a file that is missing, empty or no NIfTI."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: check the path, or the CSV that names it.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): copy or download the file again.")
    try:
        image = nib.load(path)
    except _BROKEN_FILE as error:
        raise UserError(
            f"{path} cannot be read as NIfTI ({_reason(error)}): "
            "give a complete .nii or .nii.gz file."
        ) from error
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise UserError(f"{path} is no volume: give a .nii or .nii.gz file.")
    return image


def _check_range(data: np.ndarray, path: Path) -> None:
    """Refuse values that a wrong type or scaling has spoiled."""
    if data.dtype.kind == "f" and data.dtype.itemsize > 4:
        largest = np.abs(data, where=np.isfinite(data), out=np.zeros_like(data)).max()
        if largest > np.finfo(np.float32).max:
            raise UserError(
                f"{path} holds values up to {largest:.0e}, which no scan has: correct the scaling "
                "(scl_slope) in its header."
            )
    elif data.dtype.kind == "i" and data.dtype.itemsize == 2:
        low, high = int(data.min()), int(data.max())
        if low < -OVERFLOW and high > OVERFLOW:
            raise UserError(
                f"{path} holds integers from {low} to {high}, as if larger ones had run over: "
                "convert the scan again, as unsigned or 32-bit numbers."
            )


def _reason(error: BaseException) -> str:
    """First line of an error's message, short enough for a sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:120].rstrip(".:;")
