"""Two libraries and we agree on every metric that two of them offer.

Where a library has another definition than the book, that is said here and the parts of it that
are the same are compared.
"""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from monai import metrics as monai
from scipy import ndimage
from torchmetrics import functional as tm
from torchmetrics.functional.detection import panoptic_quality
from torchmetrics.functional.segmentation import dice_score, hausdorff_distance
from torchmetrics.functional.segmentation.utils import edge_surface_distance

from sadm_utils.evaluation.detection import Detection
from sadm_utils.evaluation.lesions import find_pieces, lesion_metrics
from sadm_utils.evaluation.metrics import (
    auroc,
    average_precision,
    best_dice,
    confusion_at,
    l1_error,
)
from sadm_utils.evaluation.surfaces import average_surface_distance, hausdorff

SPACING = (1.0, 2.0, 3.0)
seeds = pytest.mark.parametrize("seed", range(3))


def smooth(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(16, 16, 14))
    smoothed = ndimage.gaussian_filter(noise, 1.5)
    return (smoothed - smoothed.min()) / np.ptp(smoothed)


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A score that overlaps with the truth, float32, and the truth."""
    hidden = smooth(seed)
    score = 0.7 * hidden + 0.3 * smooth(seed + 100)
    return score.astype(np.float32), hidden > np.quantile(hidden, 0.9)


def voxels(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.from_numpy(np.ascontiguousarray(part.ravel())) for part in case(seed))


def one_hot(mask: np.ndarray) -> torch.Tensor:
    """(1, 2, X, Y, ...): background and lesion."""
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.int64))


@seeds
def test_areas_under_curves(seed):
    (score, truth), (s, t) = case(seed), voxels(seed)
    ours = auroc(score, truth)
    assert ours == pytest.approx(sk.roc_auc_score(t, s))
    assert ours == pytest.approx(float(tm.auroc(s, t.long(), task="binary")), abs=1e-5)
    assert ours == pytest.approx(monai.compute_roc_auc(s, t.long()), abs=1e-5)
    ours = average_precision(score, truth)
    assert ours == pytest.approx(sk.average_precision_score(t, s))
    assert ours == pytest.approx(float(tm.average_precision(s, t.long(), task="binary")), abs=1e-5)
    assert ours == pytest.approx(monai.compute_average_precision(s, t.long()), abs=1e-5)


@seeds
def test_best_dice_is_the_highest_f1_of_the_curve(seed):
    (score, truth), (s, t) = case(seed), voxels(seed)
    curves = sk.precision_recall_curve(t, s), tm.precision_recall_curve(s, t.long(), task="binary")
    for precision, recall, _ in curves:
        precision, recall = np.asarray(precision), np.asarray(recall)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        assert best_dice(score, truth)[0] == pytest.approx(f1.max(), abs=1e-5)


@seeds
def test_dice_and_rates_at_a_threshold(seed):
    score, truth = case(seed)
    threshold = best_dice(score, truth)[1]
    found, marked = confusion_at(score, truth, threshold), score >= threshold
    assert 0.2 < found.dice < 0.99, "the case must be neither trivial nor perfect"
    a, b = one_hot(marked), one_hot(truth)
    assert found.dice == pytest.approx(sk.f1_score(truth.ravel(), marked.ravel()))
    peers = (
        dice_score(a, b, num_classes=2, include_background=False),
        monai.compute_dice(a, b, include_background=False),
    )
    for peer in peers:
        assert found.dice == pytest.approx(float(peer), abs=1e-5)
    p, t = (torch.from_numpy(m.ravel().astype(np.int64)) for m in (marked, truth))
    matrix = monai.get_confusion_matrix(a, b, include_background=False)
    names = {"precision": "precision", "recall": "sensitivity", "specificity": "specificity"}
    for name, other in names.items():
        ours = getattr(found, name)
        assert ours == pytest.approx(float(getattr(tm, name)(p, t, task="binary")), abs=1e-5)
        theirs = monai.compute_confusion_matrix_metric(other, matrix)
        assert ours == pytest.approx(float(theirs), abs=1e-5)


@seeds
@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.parametrize("flat", [False, True], ids=["volume", "slice"])
def test_surface_distances(seed, flat):
    """In a volume MONAI alone has them; torchmetrics has them too, but in square slices only."""
    score, truth = case(seed)
    marked, spacing = score >= best_dice(score, truth)[1], SPACING
    if flat:
        k = int(truth.sum(axis=(0, 1)).argmax())
        marked, truth, spacing = marked[:, :, k], truth[:, :, k], SPACING[:2]
    a, b = one_hot(marked), one_hot(truth)
    found = {
        "hausdorff": hausdorff(marked, truth, spacing),
        "hd95": hausdorff(marked, truth, spacing, 95),
        "assd": average_surface_distance(marked, truth, spacing),
    }
    assert found["hausdorff"] >= 2
    options = {"include_background": False, "spacing": list(spacing)}
    theirs = {
        "hausdorff": monai.compute_hausdorff_distance(a, b, **options),
        "hd95": monai.compute_hausdorff_distance(a, b, percentile=95, **options),
        "assd": monai.compute_average_surface_distance(a, b, symmetric=True, **options),
    }
    assert found == pytest.approx({k: float(v) for k, v in theirs.items()}, rel=1e-5)
    if flat:
        masks = a[0, 1].bool(), b[0, 1].bool()
        parts = edge_surface_distance(*masks, spacing=list(spacing), symmetric=True)
        one, other = (part.numpy() for part in parts)
        theirs = {
            "hausdorff": float(hausdorff_distance(a, b, 2, **options)),
            "hd95": max(np.percentile(v, 95) for v in (one, other)),
            "assd": np.r_[one, other].mean(),
        }
        assert found == pytest.approx(theirs, rel=1e-5)


def test_lesion_f1_is_the_recognition_quality_where_both_match_the_same_pieces():
    """The libraries match one to one above half an overlap; here every overlap is such a match."""
    truth, marked = np.zeros((2, 24, 12, 12), bool)
    truth[1:5, 1:5, 1:5] = marked[1:5, 1:5, 2:5] = True
    truth[8:12, 1:5, 1:5] = marked[8:11, 1:5, 1:5] = True
    truth[16:18, 8:10, 8:10] = True  # missed
    marked[16:20, 1:3, 1:3] = marked[22:24, 8:9, 8:9] = marked[10, 9, 9] = True  # wrong
    pieces = [find_pieces(mask, 1.0) for mask in (marked, truth)]
    ours = lesion_metrics(*pieces)["lesion_f1"]
    assert ours == pytest.approx(2 * 2 / (2 * 2 + 1 + 3))
    labels = [torch.from_numpy(p.labels.astype(np.int64)) for p in pieces]
    theirs = monai.compute_panoptic_quality(*labels, metric_name="rq")
    assert ours == pytest.approx(float(theirs), abs=1e-5)
    categories = [torch.stack([(p > 0).long(), p], dim=-1)[None] for p in labels]
    found = panoptic_quality(
        *categories, things={1}, stuffs={0}, return_sq_and_rq=True, return_per_class=True
    )
    assert ours == pytest.approx(float(found.reshape(-1, 3)[0, 2]), abs=1e-5)


@seeds
def test_detection(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(30) < 12
    scores = (rng.normal(size=30) + labels).round(1)
    detection = Detection()
    for score, label in zip(scores, labels, strict=True):
        detection.add([score], [label])
    ours = detection.auroc(rng, 10).mean
    assert ours == pytest.approx(sk.roc_auc_score(labels, scores))
    # torchmetrics wants probabilities; scaling keeps the ties, its own sigmoid breaks some.
    scaled = torch.from_numpy((scores - scores.min()) / np.ptp(scores))
    theirs = tm.auroc(scaled, torch.from_numpy(labels).long(), task="binary")
    assert ours == pytest.approx(float(theirs), abs=1e-5)


@seeds
def test_reconstruction_error(seed):
    image, rebuilt = smooth(seed), smooth(seed + 50)
    ours = l1_error(image, rebuilt)
    assert ours == pytest.approx(sk.mean_absolute_error(image.ravel(), rebuilt.ravel()), rel=1e-5)
    parts = (torch.from_numpy(part) for part in (rebuilt, image))
    assert ours == pytest.approx(float(tm.mean_absolute_error(*parts)), rel=1e-5)
