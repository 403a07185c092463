"""RD: distance by hand, a teacher that is really frozen, its weights, training and map."""

import copy

import pytest
import torch

from sadm_utils.baselines.rd import ReverseDistillation, cosine_distance
from sadm_utils.errors import UserError
from sadm_utils.spark.training import build_spark
from tests.baselines.brains import brains, check_map, losses, seeded, tiny_config


@pytest.fixture
def method():
    torch.manual_seed(0)
    return ReverseDistillation(tiny_config())


def test_distance_by_hand():
    """The same direction 0 at any length, a right angle 1, the opposite 2."""
    x = torch.randn(2, 5, 3, 4, generator=seeded(0))
    assert torch.allclose(cosine_distance(x, 7 * x), torch.zeros(2, 1, 3, 4), atol=1e-6)
    assert torch.allclose(cosine_distance(x, -x), torch.full((2, 1, 3, 4), 2.0))
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert cosine_distance(a[..., None, None], b[..., None, None]).item() == 1
    assert cosine_distance(x, 0 * x).abs().max() == 0, "a silent teacher asks for nothing"


def test_distances_have_the_teachers_scales_and_vanish_for_a_perfect_student(method):
    image = brains(2)["image"]
    assert [tuple(d.shape) for d in method.distances(image)] == [
        (2, 1, 16, 16), (2, 1, 8, 8), (2, 1, 4, 4),
    ]  # fmt: skip
    assert method.loss({"image": image}, seeded(0)) > 1
    method.student.forward = lambda embedding: [3 * m for m in method.teacher(image)]
    assert method.loss({"image": image}, seeded(0)).abs() < 1e-5


def test_training_leaves_the_teacher_as_it_is(method):
    before = copy.deepcopy(method.state_dict())
    losses(method, 2)
    assert method.training and not any(m.training for m in method.teacher.modules())
    after = method.state_dict()
    teacher = [name for name in before if name.startswith("teacher.")]
    assert any("running_mean" in name for name in teacher)
    assert all(torch.equal(before[name], after[name]) for name in teacher)
    assert all(p.grad is None for p in method.teacher.parameters())
    learned = [name for name, _ in method.named_parameters() if name not in teacher]
    assert all(not torch.equal(before[name], after[name]) for name in learned)


def test_teacher_takes_the_weights_of_spark(method):
    config = method.config
    spark = build_spark(config)
    for _ in range(3):  # gathers statistics
        spark(brains(4)["image"], generator=seeded(0))
    method.load_encoder(spark.state_dict())
    image = brains(2, seed=5)["image"]
    expected = spark.eval().encoder.features(image)[:3]
    assert all(map(torch.equal, method.teacher(image), expected))
    assert not any(p.requires_grad for p in method.teacher.parameters())
    other = build_spark(tiny_config(encoder__width=16))
    with pytest.raises(UserError, match="another depth or width"):
        method.load_encoder(other.state_dict())


def test_state_holds_all_that_a_map_needs(method):
    losses(method, 1)
    loaded = ReverseDistillation(method.config)
    loaded.load_state_dict(method.state_dict())
    image = brains(2)["image"]
    assert torch.equal(loaded.score(image), method.score(image))


def test_loss_falls(method):
    values = losses(method, 25, 3e-3)
    assert values[-1] < 0.5 * values[0]


def test_map(method):
    assert check_map(method).max() <= 6
