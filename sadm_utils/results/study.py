"""The questions that the paper leaves open: which sweep answers each, and which of its variants."""

from __future__ import annotations

from dataclasses import dataclass, field

from sadm_utils.results.paper import Row

ALL_SETS = {"Brats21": "tumors", "ATLAS": "strokes", "MSLUB": "MS", "DRAEM": "synthetic"}
UNSUPERVISED: Row = ("cDDPM", "")
SADM: Row = ("SADM_res", "draem")


@dataclass(frozen=True)
class Study:
    """One question.

    Attributes
    ----------
    parameter
        The setting that is varied.
    sweep
        Name of the sweep that measures it: ``sweeps/<sweep>.yaml``.
    base
        The variant that the others are compared with: what this book does by default.
    variants
        The sweep's variants in the order of the page, with what is written for them, the base
        included.
    rows
        (method, annotations) that are shown.
    test_sets
        Those that are the same for all variants.
    """

    name: str
    parameter: str
    sweep: str
    base: str
    variants: dict[str, str]
    rows: tuple[Row, ...] = (UNSUPERVISED, SADM)
    test_sets: dict[str, str] = field(default_factory=lambda: dict(ALL_SETS))

    @property
    def mark(self) -> str:
        """What stands in the page in the place of the study."""
        return f"<!-- study: {self.name} -->"


_COUNT = "sadm.annotated_subjects"
COUNTS = {f"{_COUNT}={n}": str(n) if n else "all" for n in (1, 2, 5, 10, 0)}
EVERYONE = f"{_COUNT}=0"
ANNOTATIONS = Study("annotations", _COUNT, "annotations", EVERYONE, COUNTS)
"""Shown by :mod:`sadm_utils.results.annotation_study`, as its axis is a number."""

STUDIES = (
    Study(
        "levels", "cddpm.levels", "levels", "levels 250 500 750",
        {"level 100": "t = 100", "level 250": "t = 250", "level 500": "t = 500",
         "level 750": "t = 750", "levels 250 500 750": "250, 500, 750",
         "nine levels": "100, 200, …, 900"},
    ),
    Study(
        "noise", "cddpm.noise", "noise", "simplex",
        {"simplex": "simplex", "gaussian": "Gaussian", "coarse": "coarse"},
    ),
    Study(
        "pretraining", "cddpm.pretrained", "pretraining", "with SparK",
        {"with SparK": "with SparK", "without SparK": "without SparK"},
    ),
    Study(
        "residual", "evaluation.residual", "scoring", "ssim",
        {"ssim": "SSIM", "l1": "l1", "l2": "l2"},
    ),
    Study(
        "median", "evaluation.median", "scoring", "ssim",
        {"ssim": "median filter", "ssim unfiltered": "no filter"},
    ),
    Study(
        "noise_shared", "cddpm.noise_shared", "noise", "simplex",
        {"simplex": "a field for each slice", "simplex shared": "one field for all"},
    ),
    Study(
        "brain_mask", "draem.brain_only", "brain_mask", "inside the brain",
        {"inside the brain": "inside the brain", "anywhere": "anywhere"},
        rows=(("Unet_res", "draem"), SADM),
        test_sets={k: v for k, v in ALL_SETS.items() if k != "DRAEM"},
    ),
)  # fmt: skip
