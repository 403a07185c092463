"""From a sweep to its points: which notebook runs with which parameters, and after which others.

The name of a point is a hash of what decides its result: its notebook, its own parameters, and the
points before it. Two chains that agree up to a point share it, whatever differs later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sadm_utils.config import Config, flatten, load_config, to_dict
from sadm_utils.errors import UserError
from sadm_utils.execute import check_parameters
from sadm_utils.records import hash_tree
from sadm_utils.runs import NOT_IN_KEY, project_root
from sadm_utils.sadm.training import INPUTS, stage_name
from sadm_utils.sweep.methods import DIFFUSION, PRETRAINED
from sadm_utils.sweep.sweep_file import Sweep

# Settings, by section or full key, on which the result of a notebook depends; and those of them
# that only a later notebook reads.
SECTIONS = {
    "01": ("data",),
    "03": ("data", "encoder", "spark"),
    "04": ("data", "encoder", "spark", "cddpm"),
    "05": ("data", "encoder", "spark", "cddpm", "sadm", "draem"),
    "06": ("data", "encoder", "spark", "cddpm", "sadm", "draem", "evaluation"),
    "08": ("data", "draem", "evaluation", "baselines"),
}
LATER = {
    "01": ("data.augment", "data.holdout"),
    "03": ("data.holdout",),
    "04": ("data.holdout", "cddpm.levels"),
}


@dataclass(frozen=True)
class Point:
    """One notebook with one set of parameters, in a folder of its own.

    Attributes
    ----------
    id
        ``<number of the notebook>-<8 hexadecimal digits>``: the name of its folder.
    title
        For readers: what is run, and what is special about the first chain that needs it.
    parents
        Ids of the points that must be finished before, nearest first.
    stages
        Stage folders that it writes.
    settings
        All settings that decide its result, by dotted key; what differs from the profile is in
        ``parameters["OVERRIDES"]``.
    """

    id: str
    notebook: str
    title: str
    parameters: dict[str, Any]
    parents: tuple[str, ...]
    stages: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def kind(self) -> str:
        """Number of the notebook, e.g. ``"05"``."""
        return self.notebook[:2]


@dataclass(frozen=True)
class Chain:
    """The points of one (variant, seed, fold); ``results`` are those that score test subjects."""

    variant: str
    seed: int
    fold: int
    points: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All points of a sweep in an order in which they can run, and the chains that use them."""

    sweep: Sweep
    points: dict[str, Point]
    chains: tuple[Chain, ...]

    def ancestors(self, point: Point) -> list[Point]:
        """The points that a point stands on, the first one first."""
        found: dict[str, Point] = {}
        for name in point.parents:
            found |= {p.id: p for p in self.ancestors(self.points[name])}
            found[name] = self.points[name]
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON types."""
        return {
            "sweep": self.sweep.to_dict(),
            "points": [asdict(point) for point in self.points.values()],
            "chains": [asdict(chain) for chain in self.chains],
        }


def plan_sweep(sweep: Sweep) -> Plan:
    """Plan every chain of a sweep and merge what they share.

    Raises
    ------
    UserError
        If a notebook is not there or does not have a parameter.
    """
    points: dict[str, Point] = {}
    chains = []
    for variant, overrides in sweep.variants.items():
        for seed in sweep.seeds:
            for fold in sweep.folds:
                chain = _ChainPlanner(sweep, variant, overrides, seed, fold)
                chain.plan()
                points |= {p.id: p for p in chain.points if p.id not in points}
                chains.append(chain.result())
    return Plan(sweep, points, tuple(chains))


class _ChainPlanner:
    """Collects the points of one chain."""

    def __init__(
        self, sweep: Sweep, variant: str, overrides: Mapping[str, Any], seed: int, fold: int
    ) -> None:
        own = {"data.fold": fold, **overrides}
        self.sweep, self.variant, self.seed, self.fold = sweep, variant, seed, fold
        self.config: Config = load_config(sweep.profile, own)
        self.settings = flatten(to_dict(self.config))
        profile = flatten(to_dict(load_config(sweep.profile)))
        self.changed = {k: v for k, v in self.settings.items() if v != profile[k]}
        self.points: list[Point] = []
        parts = [(variant, len(sweep.variants)), (f"seed {seed}", len(sweep.seeds)),
                 (f"fold {fold}", len(sweep.folds))]  # fmt: skip
        self.place = ", ".join(text for text, count in parts if count > 1)

    def plan(self) -> None:
        """Plan the notebooks that are asked for, and those that they need."""
        data = self._add("01", (), ("data",))
        methods = self.sweep.methods if self._asked("08") else ()
        pretrained = self.config.cddpm.pretrained and self._asked("04", "05", "06")
        spark = None
        if pretrained or self._asked("03", full=False) or set(methods) & set(PRETRAINED):
            spark = self._add("03", (data,), ("spark",))
        if self._asked("04", "05", "06"):
            model = self._add("04", (spark, data) if pretrained and spark else (data,), ("cddpm",))
            sources = self.sweep.annotations if self._asked("05", "06") else ()
            networks = [
                self._add("05", (model,), tuple(stage_name(source, i) for i in INPUTS),
                          {"ANNOTATIONS": source})
                for source in sources
            ]  # fmt: skip
            if self._asked("06"):
                self._add("06", (*networks, model), ("evaluation",))
        for method in methods:
            before = (spark, data) if spark and method in PRETRAINED else (data,)
            stages = (f"baseline-{method}", f"baseline-{method}-evaluation")
            self._add("08", before, stages, {"METHODS": method})

    def result(self) -> Chain:
        scored = tuple(p.id for p in self.points if p.kind in ("06", "08"))
        ids = tuple(p.id for p in self.points)
        return Chain(self.variant, self.seed, self.fold, ids, scored)

    def _asked(self, *numbers: str, full: bool = True) -> bool:
        """True if one of the notebooks is wanted; ``full`` is the answer for the full chain."""
        chosen = self.sweep.notebooks
        return bool(set(numbers) & set(chosen)) if chosen else full

    def _add(
        self,
        kind: str,
        parents: tuple[Point, ...],
        stages: tuple[str, ...],
        own: Mapping[str, Any] | None = None,
    ) -> Point:
        source = _notebook(kind)
        own = dict(own or {})
        seed = {"SEED": self.seed} if kind != "01" else {}  # the data do not depend on it
        sections, later = _relevant(kind, own.get("METHODS", ""), self.config)
        settings = _pick(self.settings, sections, later)
        overrides = _pick(self.changed, sections, later)
        common = {"PROFILE": self.sweep.profile, "DATA_DIR": self.sweep.data_dir, **seed}
        ids = tuple(parent.id for parent in parents)
        parts = [source.stem, common, own, _without_speed(overrides), ids]
        parameters = {**common, "OVERRIDES": overrides, **own}
        _check_names(source, (*parameters, "RUN_DIR"))
        what = " ".join([source.stem, *str(stages[0]).split("-")[1:2]])
        title = f"{what} ({self.place})" if self.place and kind != "01" else what
        point = Point(
            f"{kind}-{hash_tree(parts)[:8]}", source.stem, title, parameters, ids, stages, settings
        )
        self.points.append(point)
        return point


@cache
def _check_names(source: Path, names: tuple[str, ...]) -> None:
    """Refuse parameters that a notebook does not have; read once for all of its points."""
    check_parameters(source, dict.fromkeys(names))


def _notebook(kind: str) -> Path:
    """The notebook with a number.

    Raises
    ------
    UserError
        If this copy of the book does not have it.
    """
    found = sorted((project_root() / "notebooks").glob(f"{kind}_*.ipynb"))
    if not found:
        remedy = "leave out methods" if kind == "08" else "run from the folder of the book"
        raise UserError(f"There is no notebooks/{kind}_*.ipynb, which the sweep needs: {remedy}.")
    return found[0]


def _relevant(kind: str, method: str, config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sections on which a point depends, and the keys in them that only later ones read."""
    sections = SECTIONS[kind]
    if method in PRETRAINED:
        sections += ("encoder", "spark")
    if method in DIFFUSION:
        sections += ("cddpm",)
    if kind in ("04", "05", "06") and not config.cddpm.pretrained:
        sections = tuple(s for s in sections if s != "spark")
    return sections, LATER.get(kind, ())


def _pick(
    settings: Mapping[str, Any], sections: tuple[str, ...], left_out: tuple[str, ...]
) -> dict[str, Any]:
    def below(key: str, names: tuple[str, ...]) -> bool:
        return any(key == name or key.startswith(f"{name}.") for name in names)

    return {k: v for k, v in settings.items() if below(k, sections) and not below(k, left_out)}


def _without_speed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k.rsplit(".", 1)[-1] not in NOT_IN_KEY}
