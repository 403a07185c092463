"""The configuration: profiles, overrides, and one sentence for every mistake in them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import yaml

from sadm_utils.config import Config, flatten, load_config, profile_names, to_dict
from sadm_utils.errors import UserError
from sadm_utils.limits import CHOICES, INTERVALS, LENGTHS


def test_profiles_load_and_name_themselves() -> None:
    assert profile_names() == ["demo", "paper", "smoke"]
    assert [load_config(name).profile for name in profile_names()] == profile_names()


def test_paper_profile_is_the_papers_setting() -> None:
    paper = load_config("paper")
    assert paper == Config() and paper.slice_shape == (96, 96)
    assert paper.cddpm.levels == (250, 500, 750) and paper.cddpm.train.epochs == 1600
    assert (paper.cddpm.width, paper.encoder.depth, paper.sadm.width) == (128, 50, 64)
    assert paper.spark.train.weight_decay == 0.05 and paper.sadm.train.learning_rate == 5e-5


def test_profile_changes_only_what_it_lists() -> None:
    smoke = load_config("smoke")
    assert smoke.data.voxel_mm == 3.0 and smoke.slice_shape == (52, 64)
    assert smoke.data.percentiles == Config().data.percentiles
    assert smoke.draem == Config().draem


def test_preset_reference_is_the_released_codes_behavior() -> None:
    ours, theirs = (load_config("demo", o) for o in ({}, {"preset": "reference"}))
    flat = flatten(to_dict(ours)), flatten(to_dict(theirs))
    changed = {key: flat[1][key] for key in flat[0] if flat[0][key] != flat[1][key]}
    assert changed == {
        "encoder.drop_path": 0.05, "draem.brain_only": False, "cddpm.noise_shared": True,
        "sadm.frozen_encoder": False,
    }  # fmt: skip
    mixed = load_config("paper", {"encoder.drop_path": 0.1, "preset": "reference"})
    assert mixed.encoder.drop_path == 0.1 and mixed.cddpm.noise_shared
    with pytest.raises(UserError, match="Unknown preset 'paper': choose one of reference"):
        load_config("paper", {"preset": "paper"})


def test_overrides_go_over_the_profile() -> None:
    config = load_config("smoke", {"cddpm.train.epochs": 7, "data.crop_mm": [192, 192, 93]})
    assert config.cddpm.train.epochs == 7 and config.sadm.train.epochs == 2
    assert config.data.crop_mm == (192, 192, 93) and isinstance(config.data.crop_mm, tuple)
    assert load_config("smoke", {"sadm.train.learning_rate": 1}).sadm.train.learning_rate == 1.0


def test_configuration_cannot_be_changed_afterwards() -> None:
    config = load_config("smoke")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.data.fold = 2  # type: ignore[misc]


def test_plain_form_survives_yaml_and_says_everything() -> None:
    plain = to_dict(load_config("demo"))
    assert yaml.safe_load(yaml.safe_dump(plain)) == plain
    again = load_config("paper", {k: v for k, v in flatten(plain).items() if k != "profile"})
    assert dataclasses.replace(again, profile="demo") == load_config("demo")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"cddpm.train.epoch": 5}, "'cddpm.train.epoch': did you mean cddpm.train.epochs"),
        ({"cdpm.width": 32}, "'cdpm.width': did you mean cddpm.width"),
        ({"cddpm": {"width": 32}}, "'cddpm'"),
        ({"cddpm.width.more": 1}, "'cddpm.width.more'"),
        ({"zzz": 1}, "valid keys: .*data.voxel_mm"),
        ({"profile": "demo"}, "Unknown configuration key 'profile'"),
        ({5: 5}, "Unknown configuration key '5'"),
        ({"cddpm.train.epochs": "5"}, "takes int, not '5'"),
        ({"cddpm.train.epochs": 5.0}, "takes int, not 5.0"),
        ({"cddpm.pretrained": 1}, "takes bool, not 1"),
        ({"cddpm.width": True}, "takes int, not True"),
        ({"cddpm.levels": 250}, "takes tuple, not 250"),
        ({"cddpm.levels": [250.5]}, "takes int, not 250.5"),
        ({"cddpm.levels": []}, "'cddpm.levels' must be a list of noise levels from 1 to 1000"),
        ({"cddpm.levels": [0]}, "'cddpm.levels' must be"),
        ({"cddpm.timesteps": 500}, "'cddpm.levels' must be .* from 1 to 500"),
        ({"cddpm.width": 33}, "'cddpm.width' must be a multiple of 2, not 33"),
        ({"spark.decoder_width": 48}, "'spark.decoder_width' must be a multiple of 32"),
        ({"cddpm.train.learning_rate": math.nan}, r"must be in \(0, inf\), not nan"),
        ({"cddpm.train.ema_decay": 1}, r"must be in \[0, 1\), not 1.0"),
        ({"sadm.distinct_epochs": 0}, r"must be in \[1, inf\), not 0"),
        ({"evaluation.residual": "SSIM"}, "must be one of ssim, l1, l2, not 'SSIM'"),
        ({"evaluation.median": 4}, "must be 0 or odd, not 4"),
        ({"encoder.depth": 34}, "must be one of 18, 50, not 34"),
        ({"spark.train.precision": "32-true"}, "must be one of auto, 32, bf16, 16"),
        ({"data.crop_mm": [192, 192]}, "must be a list of 3 numbers"),
        ({"data.percentiles": [99, 1]}, "must be two rising numbers"),
        ({"data.jobs": 0}, "-1 .* or at least 1"),
        ({"data.voxel_mm": 0}, "must be in"),
        ({"data.voxel_mm": 5.0}, "31 × 38 pixels cannot be halved twice"),
        ({"spark.patch": 40}, "must be a multiple of 32"),
        ({"sadm.depth": 7}, "52 × 64 pixels cannot be halved .* sadm.depth"),
        ("cddpm.train.epochs=5", "OVERRIDES must be a mapping"),
        (["cddpm.width"], "OVERRIDES must be a mapping"),
    ],
)
def test_mistake_in_an_override_is_one_sentence(overrides: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        load_config("smoke", overrides)  # type: ignore[arg-type]
    text = str(error.value)
    assert "\n" not in text and text.endswith((".", "?"))


@pytest.mark.parametrize("profile", ["Demo", "", None, "../demo", ["smoke"]])
def test_unknown_profile_lists_the_valid_ones(profile: object) -> None:
    with pytest.raises(UserError, match="choose one of demo, paper, smoke"):
        load_config(profile)  # type: ignore[arg-type]


def test_every_limit_belongs_to_a_key() -> None:
    keys = set(flatten(to_dict(Config())))
    names = keys | {key.rsplit(".", 1)[-1] for key in keys}
    assert {*INTERVALS, *CHOICES, *LENGTHS} <= names
