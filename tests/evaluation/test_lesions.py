"""Counting lesions: hand-made brains with pieces of known size."""

import numpy as np
import pytest

from sadm_utils.evaluation.lesions import (
    SIZES,
    LesionCounts,
    count_lesions,
    find_pieces,
    lesion_metrics,
)

VOXEL_ML = 0.5


@pytest.fixture
def truth() -> np.ndarray:
    """A small (0.5 ml), a medium (2 ml) and a large lesion (12 ml)."""
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[1, 1, 1] = 1
    mask[1, 4:8, 1] = 1
    mask[8:12, 4:10, 8] = 1
    return mask


def counted(prediction: np.ndarray, truth: np.ndarray, *rule: float) -> dict:
    return count_lesions(*(find_pieces(m, VOXEL_ML) for m in (prediction, truth)), *rule)


def measured(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return lesion_metrics(*(find_pieces(m, VOXEL_ML) for m in (prediction, truth)))


def test_pieces_touch_at_corners_and_have_volumes(truth):
    pieces = find_pieces(truth, VOXEL_ML)
    assert sorted(pieces.volumes) == [0.5, 2.0, 12.0]
    diagonal = np.zeros((3, 3, 3))
    diagonal[0, 0, 0] = diagonal[1, 1, 1] = 1
    assert find_pieces(diagonal, 1.0).volumes.tolist() == [2.0]


def test_counts_by_hand(truth):
    prediction = np.zeros_like(truth)
    prediction[1, 7:9, 1] = 1  # one voxel of the medium lesion and one beside it
    prediction[9, 5:8, 8] = 1  # inside the large one
    prediction[14, 14, 14] = 1  # nothing there
    found = counted(prediction, truth)
    assert found["all"] == LesionCounts(lesions=3, hit=2, findings=3, right=2)
    assert found["small"] == LesionCounts(1, 0, 1, 0)
    assert found["medium"] == LesionCounts(1, 1, 1, 1)
    assert found["large"] == LesionCounts(1, 1, 1, 1)
    values = measured(prediction, truth)
    for rate in ("sensitivity", "precision", "f1"):
        assert values[f"lesion_{rate}"] == pytest.approx(2 / 3)
        assert values[f"lesion_{rate}_small"] == 0 and values[f"lesion_{rate}_large"] == 1


def test_the_rule_of_a_hit_can_be_stricter(truth):
    prediction = np.zeros_like(truth)
    prediction[1, 6:9, 1] = prediction[9, 5:8, 8] = 1
    assert [counted(prediction, truth, n)["all"].hit for n in (1, 2, 3, 4)] == [2, 2, 1, 0]
    assert [counted(prediction, truth, n)["all"].right for n in (1, 2, 3, 4)] == [2, 2, 1, 0]


def test_one_finding_over_many_lesions_and_many_over_one():
    truth, prediction = np.zeros((2, 9, 9, 9), np.uint8)
    truth[2, 2, 2] = truth[2, 2, 6] = 1
    prediction[2, 2, 2:7] = 1
    assert counted(prediction, truth)["all"] == LesionCounts(2, 2, 1, 1)
    assert counted(truth, prediction)["all"] == LesionCounts(1, 1, 2, 2)
    assert measured(prediction, truth)["lesion_f1"] == 1


def test_a_right_finding_is_sorted_by_its_lesion_and_a_wrong_one_by_itself(truth):
    everything = np.ones_like(truth)  # 2048 ml, touches all three lesions
    found = counted(everything, truth, 1, 0.0)
    assert found["all"] == LesionCounts(3, 3, 1, 1)
    assert found["large"] == LesionCounts(1, 1, 1, 1)
    # A class whose lesions were hit by the finding of another class has no precision of its own.
    assert found["small"] == LesionCounts(1, 1, 0, 0)
    assert np.isnan(found["small"].precision) and found["small"].f1 == 1
    elsewhere = np.zeros_like(truth)
    elsewhere[13:15, 13:15, 13:15] = 1  # 4 ml
    assert counted(elsewhere, truth)["medium"] == LesionCounts(1, 0, 1, 0)


def test_a_finding_that_covers_everything_is_wrong_and_hits_nothing(truth):
    everything = np.ones_like(truth)
    assert counted(everything, truth)["all"] == LesionCounts(3, 0, 1, 0)
    assert measured(everything, truth)["lesion_f1"] == 0


def test_a_tenth_of_a_finding_must_lie_in_lesions():
    truth, prediction = np.zeros((2, 30, 3, 3), np.uint8)
    truth[5, 1, 1] = truth[9, 1, 1] = 1  # two lesions of a voxel
    prediction[0:20, 1, 1] = 1  # 20 voxels, a tenth of them in both lesions together
    assert counted(prediction, truth)["all"] == LesionCounts(2, 2, 1, 1)
    prediction[20, 1, 1] = 1
    assert counted(prediction, truth)["all"] == LesionCounts(2, 0, 1, 0)


def test_empty_masks_have_a_defined_result(truth):
    nothing = np.zeros_like(truth)
    missed = measured(nothing, truth)
    assert missed["lesion_sensitivity"] == 0 and missed["lesion_f1"] == 0
    assert np.isnan(missed["lesion_precision"])
    alarm = measured(truth, nothing)
    assert alarm["lesion_precision"] == 0
    assert np.isnan(alarm["lesion_sensitivity"]) and np.isnan(alarm["lesion_f1"])
    assert np.isnan(list(measured(nothing, nothing).values())).all()


def test_classes_cover_every_volume_once():
    ends = list(SIZES.values())
    assert ends[0][0] == 0 and ends[-1][1] == np.inf
    assert all(a[1] == b[0] for a, b in zip(ends, ends[1:], strict=False))
    border = np.zeros((5, 5, 5))
    border[0, 0, :2] = 1  # exactly 1 ml: the lower end belongs to the class
    assert counted(border, border)["medium"].lesions == 1
