"""The diffusion model is frozen while chapter 5 trains; a switch thaws it as the released code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sadm_utils.cddpm.training import load_cddpm
from sadm_utils.data.stage import open_data
from sadm_utils.sadm.training import AnnotatedSlices
from tests.conftest import OpenTiny


@pytest.mark.parametrize("frozen", [True, False])
def test_switch_decides_whether_the_encoder_drifts(
    open_tiny: OpenTiny, finished_dir: Path, frozen: bool
) -> None:
    run = open_tiny(finished_dir, sadm__frozen_encoder=frozen)

    def reconstruct() -> tuple[AnnotatedSlices, torch.Tensor]:
        slices = AnnotatedSlices(run, open_data(run), load_cddpm(run), "draem")
        return slices, slices(0).datasets["reconstruction"]

    (slices, first), (_, again) = reconstruct(), reconstruct()
    assert torch.equal(first, again)
    assert not slices.model.training and not slices.model.encoder.training
    before, after = load_cddpm(run).state_dict(), slices.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert bool(moved) != frozen
    assert all("running_" in name or "num_batches" in name for name in moved)
