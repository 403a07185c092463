"""The evaluation: thresholds of held-out subjects, unseen subjects only, files that agree."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sadm_utils.cddpm.training import load_cddpm, reconstruct_slices
from sadm_utils.data.stage import healthy, open_data
from sadm_utils.data.volumes import Volumes
from sadm_utils.errors import UserError
from sadm_utils.evaluation import stage
from sadm_utils.evaluation.anomaly_map import reconstruction_map
from sadm_utils.evaluation.histogram import ScoreHistogram
from sadm_utils.evaluation.metrics import dice_at, l1_error
from sadm_utils.evaluation.protocol import RATES
from sadm_utils.evaluation.scoring import VolumeMaps, compute_maps, maps_of_split, scores
from sadm_utils.evaluation.stage import (
    check_unseen,
    evaluate,
    finished_networks,
    kept_case,
    kept_subject,
    synthetic_set,
)
from sadm_utils.evaluation.tables import METRIC_NAMES, NO_PERCENTAGE, read_results
from sadm_utils.runs import Run
from sadm_utils.sadm.training import load_network, training_volumes
from tests.conftest import OpenTiny

NETWORKS = [(s, inputs) for s in ("draem", "brats21") for inputs in ("input", "residual")]
KEYS = ["method", "annotations", "test_set", "subject", "metric"]


@pytest.fixture
def run(open_tiny: OpenTiny, finished_dir: Path) -> Run:
    return open_tiny(finished_dir)


@pytest.fixture
def subjects(run: Run) -> pd.DataFrame:
    file = run.path / "evaluation" / "subjects.csv"
    return pd.read_csv(file, keep_default_na=False, na_values={"value": [""]})


def test_every_method_source_and_set_is_scored(run: Run, subjects: pd.DataFrame) -> None:
    assert finished_networks(run) == NETWORKS
    rows = {(r.method, r.annotations) for r in subjects.itertuples()}
    trained = {(m, s) for m in ("Unet", "Unet_res", "SADM", "SADM_res")
               for s in ("draem", "brats21")}
    assert rows == {("Intensity", ""), ("Intensity_med", ""), ("cDDPM", ""), *trained}
    counts = subjects.groupby("test_set")["subject"].nunique().to_dict()
    assert counts == {"Brats21": 2, "MSLUB": 1, "DRAEM": 2}
    assert not subjects.duplicated(KEYS).any()
    shares = subjects[~subjects["metric"].isin(NO_PERCENTAGE)]["value"].dropna()
    assert len(shares) and shares.between(0, 1 + 1e-9).all()
    assert (subjects["value"].dropna() >= 0).all()


def test_every_protocol_is_measured(run: Run, subjects: pd.DataFrame) -> None:
    rows, extra = read_results(run.path / "evaluation")
    of_set = {"pooled_best_dice", "pooled_auprc", "detection_auroc", "slice_auroc"}
    assert set(rows["metric"]) == set(METRIC_NAMES)
    assert set(subjects["metric"]) == set(METRIC_NAMES) - of_set
    # Only what rebuilds the image has a reconstruction error.
    assert set(subjects[subjects["metric"] == "l1_ratio"]["method"]) == {"cDDPM"}
    names = {(r["method"], r["annotations"]) for r in extra["healthy_rates"]}
    assert names == {(r.method, r.annotations) for r in rows.itertuples()}
    for rate in extra["healthy_rates"]:
        assert rate["rate"] in RATES.values() and 0 <= rate["marked"] <= 1
    counts = rows[rows["metric"] == "detection_auroc"].groupby("test_set")["n"].first()
    assert counts.to_dict() == {"Brats21": 4, "MSLUB": 3, "DRAEM": 4}, "test and healthy subjects"


def test_distances_are_in_millimeters(run: Run, subjects: pd.DataFrame) -> None:
    """The voxels of the tiny run are 6 mm wide, and no distance between two is less."""
    found = subjects[subjects["metric"] == "hd95"]["value"].dropna()
    assert len(found) and found.max() <= 6 * np.linalg.norm((64, 64, 8))
    assert (found >= 6).mean() > 0.5


def test_thresholds_of_healthy_rates_come_from_healthy_validation_subjects(run: Run) -> None:
    store = open_data(run)
    volumes, settings = healthy(run, store, "val"), run.config.evaluation
    every = maps_of_split(volumes, load_cddpm(run), {}, settings, run.seed)
    inside = np.concatenate([m.residual[m.mask > 0] for m in every])
    _, extra = read_results(run.path / "evaluation")
    for entry in extra["healthy_rates"]:
        if entry["method"] == "cDDPM":
            assert np.mean(inside >= entry["threshold"]) <= entry["rate"]
            assert np.mean(inside >= entry["threshold"] * (1 - 1e-3)) >= 0.8 * entry["rate"]


def test_best_dice_bounds_dice(subjects: pd.DataFrame) -> None:
    wide = subjects.pivot(index=KEYS[:4], columns="metric", values="value")
    wide = wide.dropna(subset=["best_dice", "dice"])
    assert len(wide) and (wide["best_dice"] >= wide["dice"] - 1e-9).all()


def test_results_agree_with_their_subjects(run: Run, subjects: pd.DataFrame) -> None:
    rows, extra = read_results(run.path / "evaluation")
    for row in rows[rows["metric"].isin(subjects["metric"])].to_dict("records"):
        same = np.all([subjects[k] == row[k] for k in KEYS if k != "subject"], axis=0)
        values = subjects[same]["value"].dropna()
        assert row["n"] == len(values)
        assert row["mean"] == pytest.approx(values.mean(), nan_ok=True)
    assert extra["profile"] == "smoke" and extra["seed"] == 0
    assert extra["findings"][0]["value"] == extra["healthy_l1"]["mean"]
    record = json.loads((run.path / "evaluation" / "record.json").read_text())
    assert record["metrics"] == {"healthy_l1": extra["healthy_l1"]["mean"], "rows": len(rows)}
    assert len(record["parents"]) == 2 + len(NETWORKS)


def test_validation_subjects_are_the_held_out_ones(run: Run) -> None:
    store = open_data(run)
    sets = stage.test_sets(run, store)
    assert list(sets) == ["Brats21", "MSLUB", "DRAEM"]
    validation, test = sets["Brats21"]
    assert validation.subjects == store["Brats21_val"].subjects[:2]
    assert test.subjects == store["Brats21_test"].subjects
    trained = training_volumes(run, store, "brats21").subjects
    assert not set(trained) & {*validation.subjects, *test.subjects}
    validation, test = sets["DRAEM"]
    assert validation.subjects == store["IXI_val_fold0"].subjects
    assert test.subjects == store["IXI_test"].subjects


def test_thresholds_come_from_validation_alone(run: Run, subjects: pd.DataFrame) -> None:
    """Recompute the Dice of two rows with the threshold of the held-out subjects."""
    validation, test = stage.test_sets(run, open_data(run))["Brats21"]
    networks = {("brats21", "residual"): load_network(run, "brats21", "residual")}
    settings = run.config.evaluation

    def scored(volumes: Volumes, row: tuple[str, str]) -> list[tuple[VolumeMaps, np.ndarray]]:
        every = maps_of_split(volumes, load_cddpm(run), networks, settings, run.seed)
        return [(m, {s[:2]: s[2] for s in scores(m, settings.median)}[row]) for m in every]

    for row in (("cDDPM", ""), ("SADM_res", "brats21")):
        held_out = ScoreHistogram()
        for maps, score in scored(validation, row):
            held_out.add(score, maps.seg)
        threshold = held_out.best_dice()[1]
        for maps, score in scored(test, row):
            key = (*row, "Brats21", maps.subject, "dice")
            same = np.all([subjects[k] == v for k, v in zip(KEYS, key, strict=True)], axis=0)
            found = subjects[same]["value"]
            assert found.item() == pytest.approx(dice_at(score, maps.seg, threshold), abs=1e-6)


def test_without_validation_there_is_no_threshold(subjects: pd.DataFrame) -> None:
    metrics = set(subjects[subjects["test_set"] == "MSLUB"]["metric"])
    assert {"best_dice", "auprc", "dice_fpr5"} <= metrics
    assert not {"dice", "recall", "lesion_f1", "hd95"} & metrics


def test_beta_curve_joins_the_network_and_the_diffusion_model(
    run: Run, subjects: pd.DataFrame
) -> None:
    _, extra = read_results(run.path / "evaluation")
    curve = pd.DataFrame(extra["beta_curve"])
    assert sorted(curve["beta"].unique()) == [0.0, 0.5, 1.0]
    means = subjects[subjects["metric"] == "best_dice"].groupby(KEYS[:3])["value"].mean()
    for row in curve.itertuples():
        end = {0.0: ("Unet_res", row.annotations), 1.0: ("cDDPM", "")}
        end[0.5] = ("SADM_res", row.annotations)  # half of the sum: the same order of voxels
        expected = means[(*end[row.beta], row.test_set)]
        assert row.best_dice == pytest.approx(expected, abs=1e-6)
    each = pd.read_csv(run.path / "evaluation" / "beta_subjects.csv")
    keys = ["annotations", "test_set", "beta"]
    assert not each.duplicated([*keys, "subject"]).any()
    assert set(each["subject"]) == set(subjects["subject"])
    means = each.groupby(keys)["best_dice"].mean()  # of numbers with four digits
    pd.testing.assert_series_equal(
        means, curve.set_index(keys)["best_dice"].sort_index(), atol=6e-5, rtol=0
    )


def test_healthy_error_is_the_mean_over_healthy_test_subjects(run: Run) -> None:
    volumes = healthy(run, open_data(run), "test")
    maps = maps_of_split(volumes, load_cddpm(run), {}, run.config.evaluation, run.seed)
    errors = [l1_error(m.image, m.reconstruction, m.mask) for m in maps]
    _, extra = read_results(run.path / "evaluation")
    assert extra["healthy_l1"]["mean"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert extra["healthy_l1"]["n"] == 2


def test_kept_maps_come_back(run: Run) -> None:
    kept = kept_case(run.path / "evaluation" / "maps" / "Brats21")
    store = open_data(run)
    row = store["Brats21_test"].subjects.index(kept.subject)
    np.testing.assert_array_equal(kept.image, store["Brats21_test"].volume(row))
    np.testing.assert_array_equal(kept.seg, store["Brats21_test"].volume(row, "seg"))
    assert kept.subject == kept_subject(store["Brats21_test"])
    assert set(kept.supervised) == set(NETWORKS)
    assert kept.reconstruction_map is kept.residual
    for array in (kept.residual, *kept.supervised.values()):
        assert array.dtype == np.float32 and not array[kept.mask == 0].any()
        assert array[kept.mask > 0].any()


def test_kept_subject_has_the_median_lesion_of_the_first_ones(run: Run) -> None:
    volumes = open_data(run)["Brats21_test"]
    seg = np.zeros((6, *volumes.seg.shape[1:]), np.uint8)
    for row, size in enumerate((3, 5, 1, 3, 4, 9)):  # only the first four are kept
        seg[row].ravel()[:size] = 1
    subjects = [f"s{k}" for k in "dabcef"]
    some = dataclasses.replace(volumes, seg=seg, subjects=subjects)
    assert kept_subject(some) == "sd", "of sb 1, sc 3, sd 3, sa 5"
    assert kept_subject(dataclasses.replace(some, subjects=[])) is None


def test_maps_are_pure_functions_of_the_seed(run: Run) -> None:
    volumes, model = open_data(run)["MSLUB_test"], load_cddpm(run)
    networks = {("draem", "residual"): load_network(run, "draem", "residual")}
    image, mask = volumes.volume(0), volumes.volume(0, "mask")
    settings = dataclasses.replace(run.config.evaluation, batch_size=3)
    one, two, other = (
        compute_maps(image, mask, model, networks, settings, seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.residual, two.residual)
    assert not np.array_equal(one.residual, other.residual)
    assert one.reconstruction.shape == image.shape == one.seg.shape and not one.seg.any()
    assert one.reconstruction.min() >= 0 and one.reconstruction.max() <= 1
    assert not one.supervised["draem", "residual"][mask == 0].any()


def test_reconstruction_is_the_mean_over_the_levels(run: Run) -> None:
    volumes, model = open_data(run)["MSLUB_test"], load_cddpm(run)
    image, mask = volumes.volume(0), volumes.volume(0, "mask")
    maps = compute_maps(image, mask, model, {}, run.config.evaluation, 5)
    slices = torch.from_numpy(image).permute(2, 0, 1)[:, None]
    each = reconstruct_slices(model, slices, 5, run.config.evaluation.batch_size)[:, :, 0]
    mean = each.mean(0).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(maps.reconstruction, mean, atol=1e-5)
    assert np.abs(maps.reconstruction - each[0].permute(1, 2, 0).numpy()).max() > 1e-3
    expected = reconstruction_map(image, mean, mask, median=3)
    np.testing.assert_allclose(maps.residual, expected, atol=1e-4)


def test_rows_differ_by_network_and_fusion_alone() -> None:
    rng = np.random.default_rng(0)
    residual, alone, both = rng.random((3, 6, 6, 6)).astype(np.float32)
    ones = np.ones((6, 6, 6), np.float32)
    maps = VolumeMaps(
        "P", 0.25 * ones, ones, ones, ones, residual,
        {("draem", "input"): alone, ("draem", "residual"): both},
    )  # fmt: skip
    found = {(method, source): score for method, source, score in scores(maps, 1)}
    expected = {
        ("Intensity", ""): 0.75 * ones, ("Intensity_med", ""): 0.75 * ones, ("cDDPM", ""): residual,
        ("Unet", "draem"): alone, ("Unet_res", "draem"): both,
        ("SADM", "draem"): residual + alone, ("SADM_res", "draem"): residual + both,
    }  # fmt: skip
    assert list(found) == list(expected)
    for row, score in expected.items():
        np.testing.assert_allclose(found[row], score, atol=1e-6, err_msg=str(row))


def test_synthetic_set_is_fixed_and_marks_what_it_changed(run: Run) -> None:
    volumes = healthy(run, open_data(run), "test")
    one, two = synthetic_set(run, volumes, "test"), synthetic_set(run, volumes, "test")
    np.testing.assert_array_equal(one.image, two.image)
    another = synthetic_set(dataclasses.replace(run, seed=run.seed + 1), volumes, "test")
    np.testing.assert_array_equal(one.image, another.image, "whatever the seed")
    unlike = synthetic_set(run, volumes, "val")
    assert all(not np.array_equal(a, b) for a, b in zip(one.seg, unlike.seg, strict=True))
    changed = np.abs(one.image - np.asarray(volumes.image, np.float32)) > 1e-3
    assert one.seg.any() and not (changed & (one.seg == 0)).any()
    assert not (one.seg.astype(bool) & (volumes.mask == 0)).any()
    assert not np.array_equal(one.seg[0], one.seg[1])


@pytest.mark.parametrize("by", ["name", "scan"])
def test_subjects_that_were_trained_on_are_refused(run: Run, open_tiny: OpenTiny, by: str) -> None:
    store = open_data(run)
    sets = stage.test_sets(run, store)
    check_unseen(run, store, sets, NETWORKS)
    trained = training_volumes(run, store, "brats21").subset(slice(0, 1))
    name = trained.subjects[0] if by == "name" else "renamed"
    table = trained.table.assign(sha256="0")  # its masks may be others
    table = table if by == "scan" else table.assign(image_sha256="0")
    known = dataclasses.replace(trained, subjects=[name], table=table)
    sets["Brats21"] = (sets["Brats21"][0], known)
    with pytest.raises(UserError, match=f"{name}.*Brats21.*evaluation.accept_trained"):
        check_unseen(run, store, sets, NETWORKS)
    check_unseen(run, store, sets, [("draem", "input")])
    told = open_tiny(run.path, evaluation__accept_trained=[name])
    check_unseen(told, store, sets, NETWORKS)


@pytest.mark.parametrize("by", ["name", "scan"])
def test_subjects_that_set_a_threshold_are_not_tested(
    run: Run, open_tiny: OpenTiny, by: str
) -> None:
    store = open_data(run)
    sets = stage.test_sets(run, store)
    validation, test = sets["Brats21"]
    first = validation.subset(slice(0, 1))
    name = first.subjects[0] if by == "name" else "renamed"
    table = first.table if by == "scan" else first.table.assign(image_sha256="0")
    sets["Brats21"] = (validation, dataclasses.replace(first, subjects=[name], table=table))
    with pytest.raises(UserError, match=f"The threshold comes from {name}, which Brats21"):
        check_unseen(run, store, sets, NETWORKS)
    check_unseen(open_tiny(run.path, evaluation__accept_trained=[name]), store, sets, NETWORKS)
    sets["Brats21"] = validation, test
    check_unseen(run, store, sets, NETWORKS)


def test_evaluation_runs_without_segmentation_networks(
    open_tiny: OpenTiny, chain_dir: Path, capsys: pytest.CaptureFixture
) -> None:
    for folder in chain_dir.glob("sadm-*"):
        shutil.rmtree(folder)
    run = open_tiny(chain_dir)
    record = evaluate(run)
    assert set(record["parents"]) == {"data", "cddpm"}
    assert (chain_dir / "evaluation.old1" / "results.json").exists()
    rows, extra = read_results(chain_dir / "evaluation")
    assert set(rows["method"]) == {"Intensity", "Intensity_med", "cDDPM"}
    assert extra["beta_curve"] == []
    assert pd.read_csv(chain_dir / "evaluation" / "beta_subjects.csv").empty
    assert "Brats21: 2 validation and 2 test subjects" in capsys.readouterr().out


def test_evaluation_of_another_network_is_refused(run: Run, open_tiny: OpenTiny) -> None:
    other = open_tiny(run.path, sadm__train__epochs=5)
    with pytest.raises(UserError, match=r"'sadm-.*sadm.train.epochs = 3.*has 5.*05_sadm"):
        evaluate(other)


def test_results_of_older_code_are_not_reused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage.evaluation_stage(run)
    assert before.complete
    monkeypatch.setattr(stage, "sources_hash", lambda: "newer")
    assert not stage.evaluation_stage(run).complete
