"""Several subjects, all methods: the layout of the paper's Figures 2 and 3."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from sadm_utils.viz.slices import _array, _bare, _draw, _grid, _limits, _slice, largest_slice
from sadm_utils.viz.style import styled


@styled
def method_grid(
    image: Any,
    seg: Any,
    maps: Mapping[str, Any],
    *,
    reconstructions: Mapping[str, Any] | None = None,
    row_titles: Sequence[str] = (),
    index: int | None = None,
    panel: float = 1.5,
) -> Figure:
    """Methods side by side on the same slices: a line a subject, a column a method.

    Parameters
    ----------
    image, seg : array (X, Y, Z) or list of arrays
        The scans in [0, 1] and their lesions; a list gives a line to each subject. The slice with
        the most lesion is shown, outlined.
    maps : dict of arrays or of lists of arrays
        The anomaly map of each method, a list in the order of the subjects. Each is drawn from 0
        to its 99.8th percentile over the volume, as methods differ in scale and Dice does not care.
    reconstructions : dict of arrays or of lists of arrays, optional
        What a method rebuilds, in [0, 1]: a second line under each subject; a method without one
        has an empty panel there.
    row_titles : sequence of str
        One a subject, on the left.
    index : int, optional
        This axial slice of every subject instead.

    Raises
    ------
    ValueError
        If a method does not have one map for each subject.
    """
    several = isinstance(image, (list, tuple))
    images, lesions = (list(x) if several else [x] for x in (image, seg))
    scores = _lists(maps, len(images), several)
    rebuilt = _lists(reconstructions or {}, len(images), several)
    lines = 2 if rebuilt else 1
    columns = 1 + len(scores)
    first = _slice(images[0], index)
    figure, axes = _grid(lines * len(images), columns, first, panel)
    for ax in axes.ravel():
        _bare(ax)
    for row, (scan, truth) in enumerate(zip(images, lesions, strict=True)):
        z = largest_slice(truth) if index is None else index
        lesion = _slice(truth, z)
        heads = ["image", *scores] if row == 0 else [""] * columns
        line = axes[lines * row]
        _draw(line[0], _slice(scan, z), "image", None, lesion, heads[0])
        for ax, name, head in zip(line[1:], scores, heads[1:], strict=True):
            score = scores[name][row]
            limits = _limits(_array(score), "score")
            _draw(ax, _slice(score, z), "score", limits, lesion, head)
        for column, name in enumerate(scores, start=1):
            if name in rebuilt:
                below = axes[lines * row + 1, column]
                _draw(below, _slice(rebuilt[name][row], z), "image", None, lesion)
        if row < len(row_titles):
            line[0].set_ylabel(row_titles[row])
    return figure


def _lists(maps: Mapping[str, Any], count: int, several: bool) -> dict[str, list[Any]]:
    """Every method's maps as a list with one a subject."""
    lists = {name: list(found) if several else [found] for name, found in maps.items()}
    for name, found in lists.items():
        if len(found) != count:
            raise ValueError(f"{name} has {len(found)} maps for {count} subjects")
    return lists
