"""Synthetic anomalies: blend, statistics of the masks, restriction to the brain."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.draem.synthesis import DraemSynthesizer, blend, to_bytes
from tests.golden.compare import relative_error

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "draem.npz")


def disk(batch: int, size: int, radius: float) -> torch.Tensor:
    y, x = torch.meshgrid(*[torch.arange(size) - size / 2 + 0.5] * 2, indexing="ij")
    return (y**2 + x**2 < radius**2).expand(batch, 1, size, size)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_blend_equals_reference(golden_error):
    batch, mask, perturbation, beta = (
        torch.from_numpy(GOLDEN[k]) for k in ("batch", "mask", "perturbation", "beta")
    )
    ours = blend(batch, perturbation[:, None], mask, beta.view(-1, 1, 1, 1))
    golden_error("draem.npz", relative_error(ours, GOLDEN["augmented"]))


def test_mask_and_texture_statistics_equal_the_released_codes():
    """600 draws at 96×96: area 4.1 % (median 3.5, 90th 7.0), 6 % empty, texture 0.51 ± 0.15."""
    image = torch.zeros(600, 1, 96, 96)
    synthesizer = DraemSynthesizer(brain_only=False)
    _, mask, details = synthesizer(image, image, seeded(0))
    area = 100 * mask.mean(dim=(1, 2, 3)).numpy()
    assert area.mean() == pytest.approx(4.1, abs=0.5)
    assert np.median(area) == pytest.approx(3.5, abs=0.4)
    assert np.percentile(area, 90) == pytest.approx(7.0, abs=0.9)
    assert 20 < area.max() < 60
    assert (area == 0).mean() == pytest.approx(0.06, abs=0.025)
    pairs = zip(details["texture"], mask, strict=True)
    levels = [float(texture[m > 0].mean()) for texture, m in pairs if m.any()]
    assert np.mean(levels) == pytest.approx(0.51, abs=0.03)
    assert np.std(levels) == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize(("size", "dtype"), [(64, torch.bool), (96, torch.uint8), (32, None)])
def test_anomalies_stay_in_the_brain_and_the_mask_tells_what_changed(size, dtype):
    brain = disk(32, size, size / 3)
    image = torch.rand(32, 1, size, size) * brain
    before = image.clone()
    brain_mask = brain.to(dtype) if dtype else brain.float()
    out, mask, details = DraemSynthesizer()(image, brain_mask, seeded(1))
    assert torch.equal(image, before)
    assert out.shape == mask.shape == details["noise"].shape == details["texture"].shape
    assert out.dtype == mask.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1
    assert not (mask.bool() & ~brain).any()
    assert torch.equal(out[mask == 0], image[mask == 0])
    assert (out != image)[mask == 1].float().mean() > 0.97
    assert details["opacity"].min() >= 0.2 and details["opacity"].max() <= 1
    assert details["opacity"].unique().numel() == len(image), "one opacity an image"
    assert details["opacity"].max() - details["opacity"].min() > 0.1
    by_hand = (1 - details["opacity"]) * image + details["opacity"] * details["texture"]
    assert torch.allclose(out[mask == 1], by_hand[mask == 1], atol=1e-6)
    assert details["operations"].shape == (32, 3)


def test_missed_brains_are_drawn_again_but_empty_ones_are_not_waited_for():
    brain = disk(200, 64, 8).clone()
    brain[:10] = False
    shares = []
    for redraws in (0, 20):
        _, mask, _ = DraemSynthesizer(redraws=redraws)(brain.float(), brain, seeded(2))
        assert mask[:10].sum() == 0
        shares.append(mask[10:].amax(dim=(1, 2, 3)).mean().item())
    assert shares[0] < 0.8 < 0.99 < shares[1]


def test_switch_lets_anomalies_leave_the_brain():
    brain = disk(32, 64, 20)
    _, mask, _ = DraemSynthesizer(brain_only=False)(brain.float(), brain, seeded(3))
    assert (mask.bool() & ~brain).any()


def test_everything_comes_from_the_generator():
    brain = disk(8, 64, 25)
    state = torch.get_rng_state()
    runs = [DraemSynthesizer()(brain.float(), brain, seeded(s)) for s in (4, 4, 5)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(runs[0][0], runs[1][0])
    assert not torch.equal(runs[0][1], runs[2][1])


def test_probability_leaves_some_images_alone():
    brain = torch.ones(400, 1, 16, 16)
    out, mask, _ = DraemSynthesizer(probability=0.5)(brain, brain, seeded(6))
    anomalous = mask.amax(dim=(1, 2, 3)) == 1
    assert anomalous.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(out[~anomalous], brain[~anomalous])


def test_sampled_threshold_changes_the_area():
    image = torch.ones(200, 1, 64, 64)
    area = {
        t: DraemSynthesizer(threshold=t)(image, image, seeded(7))[1].mean().item()
        for t in (0.5, (0.2, 0.5), 0.2)
    }
    assert area[0.5] < area[(0.2, 0.5)] < area[0.2]


def test_bytes_wrap_like_an_unsigned_cast():
    assert to_bytes(torch.tensor([-0.1, 0.0, 0.5, 1.0])).tolist() == [231, 0, 127, 255]


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": -0.1}, {"threshold": (0.6, 0.5)}, {"opacity": (0.5, 1.5)}, {"probability": 2}],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DraemSynthesizer(**wrong)
