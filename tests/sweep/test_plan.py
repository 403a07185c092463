"""From a sweep file to points: sharing, order, and which setting matters to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sadm_utils.errors import UserError
from sadm_utils.sweep import plan as module
from sadm_utils.sweep.plan import Plan
from tests.sweep.toy import make_plan, with_chapter_8


def kinds(plan: Plan) -> list[str]:
    return sorted(point.kind for point in plan.points.values())


def ids(plan: Plan, kind: str) -> list[str]:
    """Id of the point of a kind in each chain."""
    return [next(p for p in chain.points if p.startswith(kind)) for chain in plan.chains]


def test_full_chain(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    assert [p.notebook[:2] for p in plan.points.values()] == [
        "01", "03", "04", "05", "05", "05", "06",
    ]  # fmt: skip
    data, spark, model, *networks, evaluation = plan.points.values()
    assert data.parents == () and spark.parents == (data.id,)
    assert model.parents == (spark.id, data.id)
    assert [n.parents for n in networks] == [(model.id,)] * 3
    assert evaluation.parents == (*(n.id for n in networks), model.id)
    assert networks[1].parameters["ANNOTATIONS"] == "brats21"
    assert networks[1].stages == ("sadm-brats21-input", "sadm-brats21-residual")
    assert [p.id for p in plan.ancestors(evaluation)][:3] == [data.id, spark.id, model.id]
    (chain,) = plan.chains
    assert chain.results == (evaluation.id,) and len(chain.points) == 7


def test_parents_come_before_their_children(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, seeds=[0, 1], variants={"a": {}, "b": {"cddpm.pretrained": False}})
    order = list(plan.points)
    for point in plan.points.values():
        assert all(order.index(p) < order.index(point.id) for p in point.parents)


def test_seeds_share_the_data_and_nothing_else(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, seeds=[0, 5], annotations=["draem"])
    assert kinds(plan) == ["01", "03", "03", "04", "04", "05", "05", "06", "06"]
    assert "SEED" not in plan.points[ids(plan, "01")[0]].parameters
    assert [plan.points[p].parameters["SEED"] for p in ids(plan, "04")] == [0, 5]


RELEVANT = [  # a setting, and the first notebook to which it matters
    ("data.curvature_steps", 1, "01"),
    ("data.phantom.ixi_train", 5, "01"),
    ("data.augment.blur", 0.1, "03"),
    ("encoder.drop_path", 0.1, "03"),
    ("spark.mask_ratio", 0.5, "03"),
    ("cddpm.noise", "gaussian", "04"),
    ("cddpm.levels", [300], "05"),
    ("data.holdout", 1, "05"),
    ("draem.threshold", 0.4, "05"),
    ("sadm.train.epochs", 1, "05"),
    ("evaluation.residual", "l1", "06"),
    ("baselines.width", 8, "never"),
]


@pytest.mark.parametrize(("key", "value", "first"), RELEVANT, ids=[r[0] for r in RELEVANT])
def test_setting_changes_the_points_from_its_notebook_on(
    tmp_path: Path, key: str, value: Any, first: str
) -> None:
    plan = make_plan(tmp_path, annotations=["draem"], variants={"plain": {}, "other": {key: value}})
    for kind in ("01", "03", "04", "05", "06"):
        one, two = ids(plan, kind)
        assert (one == two) == (kind < first), kind
        assert (key in plan.points[two].parameters["OVERRIDES"]) == (kind >= first), kind


def test_pretraining_is_left_out_where_nothing_needs_it(tmp_path: Path) -> None:
    without = {"cddpm.pretrained": False}
    plan = make_plan(tmp_path, variants={"a": without, "b": {**without, "spark.mask_ratio": 0.5}})
    assert "03" not in kinds(plan) and len(set(ids(plan, "06"))) == 1


def test_value_of_the_profile_is_no_change(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, variants={"plain": {}, "said": {"cddpm.noise": "simplex"}})
    assert len(set(ids(plan, "06"))) == 1 and len(plan.chains) == 2


def test_speed_changes_no_id(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, variants={"a": {}, "b": {"data.jobs": 1, "cddpm.train.workers": 2}})
    assert len(set(ids(plan, "06"))) == 1


def test_ids_follow_the_profile_and_stay_the_same(tmp_path: Path) -> None:
    one, two = make_plan(tmp_path), make_plan(tmp_path)
    assert list(one.points) == list(two.points)
    assert not set(one.points) & set(make_plan(tmp_path, profile="demo").points)


def test_grid_times_variants(tmp_path: Path) -> None:
    plan = make_plan(
        tmp_path, annotations=[], overrides={"cddpm.noise_octaves": 2},
        variants={"plain": {}, "no SparK": {"cddpm": {"pretrained": False}}},
        grid={"cddpm.noise": ["simplex", "gaussian"], "cddpm.levels": [[500]]},
    )  # fmt: skip
    assert [chain.variant for chain in plan.chains] == [
        "plain, cddpm.noise=simplex, cddpm.levels=[500]",
        "plain, cddpm.noise=gaussian, cddpm.levels=[500]",
        "no SparK, cddpm.noise=simplex, cddpm.levels=[500]",
        "no SparK, cddpm.noise=gaussian, cddpm.levels=[500]",
    ]
    last = plan.points[ids(plan, "06")[-1]].parameters["OVERRIDES"]
    assert last == {
        "cddpm.noise_octaves": 2, "cddpm.pretrained": False, "cddpm.noise": "gaussian",
        "cddpm.levels": [500],
    }  # fmt: skip


def test_preset_is_spelled_out(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, annotations=["draem"], overrides={"preset": "reference"})
    assert plan.points[ids(plan, "04")[0]].parameters["OVERRIDES"] == {
        "encoder.drop_path": 0.05, "cddpm.noise_shared": True,
    }  # fmt: skip


def test_some_notebooks_bring_what_they_need(tmp_path: Path) -> None:
    assert kinds(make_plan(tmp_path, notebooks=["04"])) == ["01", "03", "04"]
    assert kinds(make_plan(tmp_path, notebooks=[5], annotations=["draem"])) == [
        "01", "03", "04", "05",
    ]  # fmt: skip
    assert kinds(make_plan(tmp_path, notebooks="01_data_preparation")) == ["01"]


def test_methods_need_the_data_and_some_the_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_chapter_8(monkeypatch, tmp_path)
    variants = {"a": {}, "b": {"cddpm.noise": "gaussian"}, "c": {"spark.mask_ratio": 0.5}}
    plan = make_plan(tmp_path, methods=["ae", "rd", "ddpm"], variants=variants, notebooks=["08"])
    own = {(p.parameters["METHODS"], p.id): p for p in plan.points.values() if p.kind == "08"}
    count = {m: sum(name == m for name, _ in own) for m in ("ae", "rd", "ddpm")}
    assert count == {"ae": 1, "rd": 2, "ddpm": 2}
    for (method, _), point in own.items():
        assert [p[:2] for p in point.parents] == (["03", "01"] if method == "rd" else ["01"])
        assert point.stages == (f"baseline-{method}", f"baseline-{method}-evaluation")
    assert "04" not in kinds(plan) and all(len(c.results) == 3 for c in plan.chains)


def test_methods_without_their_chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(module, "project_root", lambda: tmp_path)
    with pytest.raises(UserError, match="no notebooks/01_.*which the sweep needs: run from"):
        make_plan(tmp_path)
