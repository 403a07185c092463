"""The MNI152 template, and where the brain is in a scan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from sadm_utils.data.io import Scan
from sadm_utils.data.strip import has_hd_bet, run_hd_bet
from sadm_utils.errors import UserError

LARGEST_BRAIN_ML = 2200.0
SMALLEST_BRAIN_ML = 500.0
REACH_MM = 10.0
"""No part of a registered brain is farther from the template's."""

BRAIN_CHOICES = ("auto", "given", "stripped", "hd-bet", "template")
TEMPLATE_NOTE = (
    "The scan has a skull and came without a brain mask: the template's mask is used, so expect "
    "false alarms at the rim; skull-strip the scan first for a better map."
)


@dataclass(frozen=True)
class Template:
    """What scans are registered to.

    Attributes
    ----------
    image, mask
        float32 and bool at 1 mm, axes to the right, the front and the top: (197, 233, 189) for
        nilearn's skull-stripped MNI152 T1.
    affine
        (4, 4) voxel index to the template's millimeters.
    name
        For the manifest.
    """

    image: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    name: str = "MNI152"

    @cached_property
    def reach(self) -> np.ndarray:
        """Where a registered brain may be: within :data:`REACH_MM` of the mask; bool."""
        coarse = ndimage.distance_transform_edt(~self.mask[::2, ::2, ::2], sampling=2.0) <= REACH_MM
        for axis in range(3):
            coarse = coarse.repeat(2, axis=axis)
        return self.mask | coarse[tuple(slice(n) for n in self.mask.shape)]


@dataclass(frozen=True)
class BrainMask:
    """A scan's brain.

    Attributes
    ----------
    array
        Bool on the scan's grid, or None if the template's mask is to be used.
    source
        ``given``, ``stripped`` (the scan's nonzero voxels), ``hd-bet`` or ``template``.
    note
        A sentence for the reader.
    """

    array: np.ndarray | None
    source: str
    note: str


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Load the MNI152 T1 and its brain mask from nilearn (once a process; treat as read-only)."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    image, mask = load_mni152_template(resolution=1), load_mni152_brain_mask(resolution=1)
    return Template(
        image.get_fdata(dtype=np.float32), np.asanyarray(mask.dataobj) > 0, np.array(image.affine)
    )


def find_brain(
    scan: Scan, mask: np.ndarray | None, path: str | Path, choice: str = "auto"
) -> BrainMask:
    """Find the brain of a scan.

    Parameters
    ----------
    scan
        The scan, any units.
    mask
        Brain mask of the user, or None.
    path
        File of the scan, for messages.
    choice
        One of :data:`BRAIN_CHOICES`. ``auto`` takes the first that there is: the mask, a scan that
        is skull-stripped, HD-BET, the template's mask.

    Raises
    ------
    UserError
        The mask, or what is not background in the scan, is no brain by its volume, or the choice
        cannot be met.
    """
    if choice == "given" and mask is None:
        raise UserError(f"{path} came without a brain mask: add one, or choose --brain auto.")
    if choice == "template":
        return BrainMask(None, "template", TEMPLATE_NOTE)
    if choice == "hd-bet":
        return _by_hd_bet(scan, path)
    if choice == "stripped":
        mask = None
    voxel_ml = float(np.prod(scan.zooms)) / 1000
    if mask is not None:
        volume = np.count_nonzero(mask) * voxel_ml
        if not SMALLEST_BRAIN_ML < volume < LARGEST_BRAIN_ML:
            raise UserError(
                f"The brain mask of {path} has {volume:.0f} ml, which is no adult brain: "
                "give a mask that is 1 inside the brain and 0 elsewhere."
            )
        return BrainMask(mask, "given", "The brain mask was given.")
    foreground = largest_part(scan.array > 0)
    volume = np.count_nonzero(foreground) * voxel_ml
    if volume < SMALLEST_BRAIN_ML:
        raise UserError(
            f"{path} shows only {volume:.0f} ml of tissue: check that it is a whole-head T1 scan "
            "with its voxel size in the header."
        )
    if volume < LARGEST_BRAIN_ML:
        return BrainMask(foreground, "stripped", "The scan is skull-stripped: nonzero is brain.")
    if choice == "stripped":
        raise UserError(
            f"{path} shows {volume:.0f} ml of tissue, so it is not skull-stripped: choose --brain "
            "auto, or strip it."
        )
    return _by_hd_bet(scan, path) if has_hd_bet() else BrainMask(None, "template", TEMPLATE_NOTE)


def cut_hanging(inside: np.ndarray, template: Template) -> tuple[np.ndarray, str]:
    """Cut off muscle and vessels that skull-stripping has left hanging on a brain.

    Parameters
    ----------
    inside
        Registered brain, bool on the template's grid.

    Returns
    -------
    array, note
        What is within the template's reach, and a sentence if more than 1 ml was cut off.
    """
    kept = inside & template.reach
    lost = (np.count_nonzero(inside) - np.count_nonzero(kept)) / 1000
    note = f"{lost:.0f} ml farther than {REACH_MM:g} mm from the template's brain were cut off."
    return kept, note if lost > 1 else ""


def _by_hd_bet(scan: Scan, path: str | Path) -> BrainMask:
    mask = run_hd_bet(scan, path)
    volume = np.count_nonzero(mask) * float(np.prod(scan.zooms)) / 1000
    if not SMALLEST_BRAIN_ML < volume < LARGEST_BRAIN_ML:
        raise UserError(
            f"HD-BET found {volume:.0f} ml of brain in {path}, which is no adult brain: give a "
            "brain mask."
        )
    return BrainMask(mask, "hd-bet", "The brain was extracted by HD-BET.")


def largest_part(foreground: np.ndarray) -> np.ndarray:
    """Largest connected component, with its holes filled; bool."""
    labels, count = ndimage.label(foreground)
    if count == 0:
        return np.zeros(foreground.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(labels == sizes.argmax())
