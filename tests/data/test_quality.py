"""What stands out is flagged, and pictures show what they claim to show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sadm_utils.data.brain import BrainMask, load_template
from sadm_utils.data.montage import (
    BRAIN_COLOR,
    ENLARGED,
    LESION_COLOR,
    LINE,
    TEMPLATE_COLOR,
    draw_subject,
    subject_picture,
    write_page,
)
from sadm_utils.data.quality import LOW_DICE, describe_registered, flag_outliers, write_manifest
from sadm_utils.data.register import apply_matrix
from sadm_utils.data.scan import Registered


def table(count: int = 12, set_name: str = "IXI") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns = {"dice": (0.96, 0.003), "contrast": (0.8, 0.02), "brain_ml": (1800.0, 30.0),
               "median": (500.0, 20.0), "p99_over_median": (1.6, 0.02)}  # fmt: skip
    values = {name: rng.normal(*pair, count) for name, pair in columns.items()}
    return pd.DataFrame({"set": set_name, **values})


def test_ordinary_subjects_are_not_flagged() -> None:
    assert flag_outliers(table()) == [""] * 12


@pytest.mark.parametrize(
    ("column", "value"), [("contrast", 0.5), ("brain_ml", 1200.0), ("median", 5000.0)]
)
def test_what_is_far_from_the_others_is_flagged(column: str, value: float) -> None:
    frame = table()
    frame.loc[3, column] = value
    flags = flag_outliers(frame)
    assert flags[3].startswith(f"{column} ") and "median" in flags[3]
    assert [f for i, f in enumerate(flags) if f and i != 3] == []


def test_a_poor_fit_is_flagged_in_small_sets_too() -> None:
    frame = table(3)
    frame.loc[0, "dice"] = LOW_DICE - 0.01
    frame.loc[1, "median"] = 9000.0
    frame.loc[2, "contrast"] = 0.1
    assert flag_outliers(frame) == ["overlap 0.92", "", "contrast 0.10, unlike T1"]


def test_sets_are_compared_with_themselves() -> None:
    other = table(12, "ATLAS").assign(median=5000.0 + np.arange(12))
    frame = pd.concat([table(), other], ignore_index=True)
    assert flag_outliers(frame) == [""] * 24


def registered(shift: int = 0, lesion: bool = False) -> Registered:
    """The template, registered to itself, moved by some voxels along x."""
    template = load_template()
    place = np.eye(4)
    place[0, 3] = -shift
    image, mask = (
        apply_matrix(a.astype(np.float32), place, template.mask.shape)
        for a in (template.image * template.mask, template.mask)
    )
    seg = np.zeros(mask.shape, np.uint8) if lesion else None
    if lesion:
        seg[60:80, 120:140, 90:100] = 1
    return Registered(
        image, (mask > 0.5).astype(np.uint8), seg, template.affine, np.diag([2.0, 1, 1, 1]),
        (9, 9, 9), np.eye(4), BrainMask(None, "given", "A note."), 0.97, 0.9, 8.0, ("Another.",),
    )  # fmt: skip


WIDTHS = np.cumsum([233, 197, 197]) * ENLARGED
"""Where the sagittal, the coronal and the axial plane of the template end (pixels)."""
HEIGHT = 233 * ENLARGED


def outline(width: int, height: int) -> int:
    """Pixels of the outline of a rectangle (voxels)."""
    width, height = width * ENLARGED, height * ENLARGED
    return width * height - (width - 2 * LINE) * (height - 2 * LINE)


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == np.array(color, np.uint8)).all(-1).sum())


def test_picture_shows_planes_and_outlines() -> None:
    fits, moved = subject_picture(registered()), subject_picture(registered(shift=8))
    assert fits.dtype == np.uint8 and fits.shape == (HEIGHT, WIDTHS[-1], 3)
    assert count(fits, BRAIN_COLOR) > 1000 and count(fits, TEMPLATE_COLOR) == 0, "it lies over it"
    assert count(moved, TEMPLATE_COLOR) > 300 and count(fits, LESION_COLOR) == 0
    sick = subject_picture(registered(lesion=True))
    assert count(sick, LESION_COLOR) == 2 * outline(20, 10) + outline(20, 20)


def test_left_is_left_and_up_is_up() -> None:
    scan = registered()
    scan.image[:60] = 0  # the left hemisphere's side, x < -38 mm
    axial = subject_picture(scan)[:, WIDTHS[1] :]
    half = axial.shape[1] // 2
    assert axial[:, :half].mean() < 0.8 * axial[:, half:].mean()
    scan = registered()
    scan.image[:, :, 94:] = 0
    coronal = subject_picture(scan)[:, WIDTHS[0] : WIDTHS[1]].mean(-1)
    assert coronal[: 110 * ENLARGED].mean() < 0.5 * coronal[110 * ENLARGED :].mean()


def test_facts(tmp_path: Path) -> None:
    from sadm_utils.data.io import save_nifti

    file = save_nifti(tmp_path / "a.nii.gz", np.ones((4, 5, 6), np.float32), np.diag([-1, 2, 3, 1]))
    facts = describe_registered(file, registered(lesion=True))
    assert (facts["shape"], facts["spacing"], facts["orientation"]) == ("4x5x6", "1x2x3", "LAS")
    assert facts["lesion_ml"] == 8.0 and facts["lesion_mni_ml"] == 8.0, "4000 voxels of 2 mm³"
    assert facts["notes"] == "A note. Another." and facts["p1"] < facts["median"] < facts["p99"]


def test_page(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    records = [
        {"key": f"IXI/{n}", "subject": n, "set": "IXI", "error": "", "dice": d, "lesion_ml": 0.0,
         "contrast": 0.8, "brain_ml": 1.0, "median": 1.0, "p99_over_median": 1.0}
        for n, d in zip(names, (0.96, 0.80, 0.97), strict=True)
    ] + [{"key": "IXI/<d>", "subject": "<d>", "set": "IXI", "error": "is <empty>"}]
    for name in names:
        draw_subject(tmp_path / f"quality/IXI_{name}.png", registered())
    frame = write_manifest(tmp_path, records)
    page = write_page(tmp_path, frame).read_text(encoding="utf-8")
    assert page.index("IXI b") < page.index("IXI a") < page.index("IXI c"), "flagged ones first"
    assert "3 subjects registered, 1 stand out, 1 failed" in page
    assert "&lt;d&gt;: is &lt;empty&gt;" in page and "http" not in page
    assert page.count("<a href='quality/IXI_a.png'>") == 1
