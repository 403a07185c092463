"""Read the file that describes a sweep, and refuse what cannot be meant.

A sweep is a profile, data, seeds, folds, what is trained, and variants: sets of overrides, named
by hand (``variants``) or made as a product of axes (``grid``), or both.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from sadm_utils.book import ANNOTATIONS, absent_sources
from sadm_utils.config import flatten, load_config
from sadm_utils.errors import UserError
from sadm_utils.sweep.methods import METHODS

DEFAULTS: dict[str, Any] = {
    "profile": "demo",
    "data_dir": "",
    "seeds": [0],
    "folds": [0],
    "annotations": list(ANNOTATIONS),
    "methods": [],
    "overrides": {},
    "grid": {},
    "variants": {},
    "notebooks": [],
}
NOTEBOOKS = ("01", "03", "04", "05", "06", "08")
"""The notebooks that compute something that others, or the tables, need."""

PLAIN = "plain"
"""Name of the only variant of a sweep without ``grid`` and ``variants``."""

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


@dataclass(frozen=True)
class Sweep:
    """A sweep file, checked and resolved; ``variants`` maps a name to all of its overrides.

    ``notebooks`` are numbers such as ``"05"``; empty for the full chain.
    """

    name: str
    profile: str
    data_dir: str
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    annotations: tuple[str, ...]
    methods: tuple[str, ...]
    variants: dict[str, dict[str, Any]]
    notebooks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The sweep as plain YAML and JSON types."""
        return json.loads(json.dumps(asdict(self)))


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep file.

    Raises
    ------
    UserError
        The file is missing, empty or no YAML, has an unknown key or a value of the wrong kind, or
        names settings, annotations, methods, notebooks, folds or data that do not exist.
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read the sweep file {path}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, Mapping) or not tree:
        raise UserError(
            f"{path} describes no sweep: it must map keys such as 'seeds' and 'annotations' to "
            "their values."
        )
    try:
        return _resolve(path.stem, tree)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _resolve(name: str, tree: Mapping[str, Any]) -> Sweep:
    for key in tree:
        _check_known(str(key), list(DEFAULTS), "key")
    # A key without a value is a key that was left out.
    values = {**DEFAULTS, **{k: v for k, v in tree.items() if v is not None}}
    for key in ("profile", "data_dir"):
        if not isinstance(values[key], str):
            raise UserError(f"{key} must be a text, not {values[key]!r}.")
    methods = _items(values, "methods", str, may_be_empty=True)
    annotations = _items(values, "annotations", str, may_be_empty=True)
    for source in annotations:
        _check_known(source, list(ANNOTATIONS), "annotations")
    for method in methods:
        _check_known(method, list(METHODS), "method")
    data_dir = _check_data(values["data_dir"], annotations)
    folds = _items(values, "folds", int)
    _check_folds(folds, data_dir)
    sweep = Sweep(
        name, values["profile"], data_dir, _items(values, "seeds", int), folds, annotations,
        methods, _variants(values), _notebooks(values),
    )  # fmt: skip
    for variant, overrides in sweep.variants.items():
        _check_overrides(sweep.profile, variant, overrides)
    return sweep


def _check_known(name: str, valid: list[str], what: str) -> None:
    if name not in valid:
        close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"unknown {what} {name!r}: {hint}Valid: {', '.join(valid)}.")


def _items(
    values: Mapping[str, Any], key: str, kind: type, may_be_empty: bool = False
) -> tuple[Any, ...]:
    """The list of a key; one value stands for a list of one."""
    items = values[key] if isinstance(values[key], list) else [values[key]]
    if not items and not may_be_empty:
        raise UserError(f"{key} is an empty list: nothing would be run.")
    for item in items:
        if not isinstance(item, kind) or isinstance(item, bool) or (kind is int and item < 0):
            wanted = "whole numbers of at least 0" if kind is int else "names"
            raise UserError(f"{key} must be a list of {wanted}, not {values[key]!r}.")
    if len(set(items)) < len(items):
        raise UserError(f"{key} names something twice: {values[key]!r}.")
    return tuple(items)


def _check_data(data_dir: str, annotations: tuple[str, ...]) -> str:
    if not data_dir:
        return ""
    folder = Path(data_dir).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            f"data_dir {data_dir!r} does not exist: give the folder that holds the scans, or leave "
            "it out for the built-in phantom cohort."
        )
    absent = [source for source in absent_sources(str(folder)) if source in annotations]
    if absent:
        raise UserError(f"{folder} has no subjects for {absent[0]}: leave it out of annotations.")
    return str(folder)


def _check_folds(folds: tuple[int, ...], data_dir: str) -> None:
    if not data_dir and folds != (0,):
        raise UserError("the phantom cohort has only fold 0: leave folds out, or set data_dir.")
    lists = Path(data_dir) / "splits"
    for fold in folds:
        if data_dir and lists.is_dir() and not (lists / f"IXI_train_fold{fold}.csv").is_file():
            raise UserError(f"{lists} has no IXI_train_fold{fold}.csv: remove {fold} from folds.")


def _variants(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All overrides of each variant: the common ones, then its own, then its place in the grid."""
    common = _overrides(values["overrides"], "overrides")
    named = values["variants"]
    if not isinstance(named, Mapping):
        raise UserError(f"variants must map names to overrides, not {named!r}.")
    named = {str(k): _overrides(v or {}, f"variants: {k}") for k, v in named.items()}
    axes = _overrides(values["grid"], "grid")
    for key, choices in axes.items():
        if not isinstance(choices, list) or not choices:
            raise UserError(f"grid: {key} must be a list of values to try, not {choices!r}.")
    variants = {}
    for (name, own), *place in itertools.product(
        (named or {"": {}}).items(), *([(key, v) for v in axes[key]] for key in axes)
    ):
        words = [name] * bool(name) + [f"{key}={_shown(value)}" for key, value in place]
        title = ", ".join(words) or PLAIN
        if title in variants:
            raise UserError(f"grid names {title!r} twice.")
        variants[title] = common | own | {key: _number(value) for key, value in place}
    return variants


def _overrides(tree: Any, where: str) -> dict[str, Any]:
    """Overrides by dotted key; nested keys are welcome, too."""
    if not isinstance(tree, Mapping):
        raise UserError(
            f"{where} must map settings to values, such as {{cddpm.noise: gaussian}}, not {tree!r}."
        )
    return {key: _number(value) for key, value in flatten(tree).items()}


def _number(value: Any) -> Any:
    """YAML 1.1 takes ``1e-3`` for a text."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check_overrides(profile: str, variant: str, overrides: Mapping[str, Any]) -> None:
    if "data.fold" in overrides:
        raise UserError("data.fold is set by the list 'folds', not by an override.")
    try:
        load_config(profile, overrides)
    except UserError as error:
        where = f"variant {variant!r}: " if variant != PLAIN else ""
        raise UserError(f"{where}{error}") from None


def _notebooks(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Numbers of the notebooks asked for; YAML reads ``05`` as the number 5."""
    chosen = values["notebooks"] if isinstance(values["notebooks"], list) else [values["notebooks"]]
    numbers = [str(item).split("_")[0].removesuffix(".ipynb").zfill(2) for item in chosen]
    for number in numbers:
        _check_known(number, list(NOTEBOOKS), "notebook")
    return tuple(dict.fromkeys(numbers))
