"""The welcome page shows the maps of the run, or says that its picture is older."""

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from sadm_utils.cover import MARK, PICTURE, fill_cover
from sadm_utils.runs import project_root


def test_cover_is_drawn_from_the_kept_maps(finished_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    text = fill_cover(f"before {MARK} after", finished_dir, tmp_path)
    assert text.startswith("before ```{image}") and text.endswith("after")
    assert "subject of the test set Brats21" in text and MARK not in text
    assert np.ptp(imread(tmp_path / PICTURE)[..., :3]) > 0.5


def test_without_maps_the_older_picture_stays(tmp_path: Path) -> None:
    assert "as an earlier run saw it" in fill_cover(MARK, tmp_path, tmp_path)
    assert not (tmp_path / PICTURE).exists()
    assert MARK in (project_root() / "book" / "index.md").read_text()
    assert (project_root() / "book" / PICTURE).exists()
