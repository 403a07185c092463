"""The picture of the welcome page: one lesion, its reconstruction, and the maps of the run."""

from __future__ import annotations

from pathlib import Path

from sadm_utils.evaluation.scoring import scores
from sadm_utils.evaluation.stage import SYNTHETIC, kept_case
from sadm_utils.records import read_header
from sadm_utils.viz.slices import compare_methods

MARK = "<!-- cover -->"
PICTURE = "images/result.png"
FIRST = "Brats21"  # the disease with the largest lesions
SHOWN = ("cDDPM", "Unet_res draem", "SADM_res draem", "SADM_res brats21")


def fill_cover(text: str, run: Path, folder: Path) -> str:
    """Put the picture into the place of its mark, drawn anew if the run was evaluated.

    Parameters
    ----------
    run
        A run folder. Without kept maps in its stage ``evaluation``, the picture that lies in
        ``folder``, made by an earlier run, stays.
    folder
        That of the page.
    """
    if MARK not in text:
        return text
    words = _draw(run, folder / PICTURE) or "A simulated tumor, as an earlier run saw it"
    alt = f"{words}: the slice, its reconstruction and anomaly maps of several methods."
    shown = f"```{{image}} {PICTURE}\n:alt: {alt}\n```\n\n*{words}; the lesion is outlined.*"
    return text.replace(MARK, shown)


def _draw(run: Path, file: Path) -> str:
    """Draw one case; return what it is, or nothing if no maps were kept."""
    folders = sorted(
        (path for path in (run / "evaluation" / "maps").glob("*") if path.name != SYNTHETIC),
        key=lambda path: (path.name != FIRST, path.name),
    )
    cases = ((path.name, kept_case(path)) for path in folders)
    test_set, maps = next(((name, case) for name, case in cases if case), ("", None))
    if maps is None:
        return ""
    median = read_header(run / "evaluation" / "config.yaml").settings["evaluation"]["median"]
    found = {f"{method} {source}".strip(): s for method, source, s in scores(maps, median)}
    shown = {name: found[name] for name in SHOWN if name in found}
    figure = compare_methods(
        maps.image, shown, maps.seg, reconstruction=maps.reconstruction, columns=3, panel=1.8
    )
    figure.savefig(file)
    real = read_header(run / "data" / "config.yaml").settings["DATA_DIR"]
    return f"A {'' if real else 'simulated '}subject of the test set {test_set}"
