"""The training loop: resuming is exact, averages are kept, failures leave nothing half-written."""

from __future__ import annotations

import dataclasses
import errno
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from sadm_utils.errors import UserError
from sadm_utils.execute import PACKAGE
from sadm_utils.training import fit
from tests.toy import STEPS, TRAIN, Toy, epoch_data, toy_stage


class Killed(Exception):
    """Stands for a kill: nothing in the loop handles it."""


def stop_at(step: int):
    def at_step(now: int) -> None:
        if now == step:
            raise Killed

    return at_step


def assert_same_weights(one: torch.nn.Module, two: torch.nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("ema", [0.8, 0.0])
@pytest.mark.parametrize("step", [2 * STEPS + 1, 3 * STEPS])
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_resumed_training_equals_undisturbed(
    tmp_path: Path, ema: float, step: int, optimizer: str
) -> None:
    train = dataclasses.replace(TRAIN, ema_decay=ema, optimizer=optimizer)
    undisturbed, killed, resumed = Toy(train), Toy(train, stop_at(step)), Toy(train)
    history = fit(undisturbed, epoch_data, toy_stage(tmp_path / "one"))
    with pytest.raises(Killed):
        fit(killed, epoch_data, toy_stage(tmp_path / "two"))
    again = fit(resumed, epoch_data, toy_stage(tmp_path / "two"))
    assert_same_weights(undisturbed, resumed)
    pd.testing.assert_frame_equal(history, again)
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert resumed.rates == undisturbed.rates[-len(resumed.rates) :]
    assert len(resumed.rates) == STEPS * (4 - step // STEPS), "a finished epoch was repeated"
    saved = pd.read_csv(tmp_path / "two" / "cddpm" / "history.csv")
    pd.testing.assert_frame_equal(saved, again, check_dtype=False)


def test_killed_process_resumes_to_the_same_weights(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-m", "tests.toy", tmp_path], cwd=PACKAGE.parent)
    while not (tmp_path / "hanging").exists() and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    folder = tmp_path / "cddpm"
    assert not (folder / "record.json").exists() and not (folder / "weights.safetensors").exists()
    stage, resumed, undisturbed = toy_stage(tmp_path), Toy(), Toy()
    assert stage.seconds > 0.05, "the time of the killed run is lost"
    assert len(fit(resumed, epoch_data, stage)) == TRAIN.epochs
    assert len(resumed.rates) == 2 * STEPS
    fit(undisturbed, epoch_data, toy_stage(tmp_path / "other"))
    for one, two in zip(undisturbed.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)  # two processes round apart


def test_killed_behind_the_last_epoch_still_keeps_the_average(tmp_path: Path) -> None:
    first, second = Toy(), Toy()
    fit(first, epoch_data, toy_stage(tmp_path))
    history = fit(second, epoch_data, toy_stage(tmp_path))
    assert second.rates == [] and len(history) == TRAIN.epochs
    assert_same_weights(first, second)


def test_average_follows_its_formula_and_is_what_is_validated(tmp_path: Path) -> None:
    raw: list[torch.Tensor] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, module, *args) -> None:
            raw.append(module.net[0].weight.detach().clone())

    toy, seen = Toy(dataclasses.replace(TRAIN, ema_decay=0.8)), []
    toy.configure_callbacks = lambda: [Watch()]

    def validate(module: pl.LightningModule) -> dict[str, float]:
        seen.append(module.net[0].weight.detach().clone())
        return {"figure": 1.5}

    history = fit(toy, epoch_data, toy_stage(tmp_path), validate)
    average = raw[0]
    for number, weight in enumerate(raw[1:], start=1):
        average = 0.8 * average + 0.2 * weight
        if (number + 1) % STEPS == 0:
            torch.testing.assert_close(seen[number // STEPS], average)
    torch.testing.assert_close(toy.net[0].weight.detach(), average)
    assert not torch.allclose(average, raw[-1])
    assert history["figure"].tolist() == [1.5] * 4


def test_each_epoch_is_asked_for_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def data(epoch: int) -> Dataset:
        asked.append(epoch)
        return epoch_data(epoch)

    with pytest.raises(Killed):
        fit(Toy(at_step=stop_at(2 * STEPS)), data, toy_stage(tmp_path))
    assert asked == [0, 1, 2]
    asked.clear()
    fit(Toy(), data, toy_stage(tmp_path))
    assert sorted(set(asked)) == [2, 3], "a resumed training made data of another epoch"


def test_learning_rate_warms_up_and_decays(tmp_path: Path) -> None:
    toy = Toy()
    fit(toy, epoch_data, toy_stage(tmp_path))
    peak, last, total = TRAIN.learning_rate, TRAIN.final_lr_fraction, 4 * STEPS
    cosine = [0.5 * (1 + math.cos(math.pi * k / (total - 3))) for k in range(total - 3)]
    expected = [peak / 3, 2 * peak / 3, peak, *(peak * (last + (1 - last) * c) for c in cosine)]
    assert toy.rates == pytest.approx(expected)


def test_shuffles_differ_between_epochs_and_agree_between_runs(tmp_path: Path) -> None:
    class Watched(Toy):
        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            seen.append(batch[0].clone())
            return super().training_step(batch, index)

    def orders(folder: Path) -> list[torch.Tensor]:
        seen.clear()
        fit(Watched(), lambda epoch: epoch_data(0), toy_stage(folder))
        return [torch.cat(seen[k : k + STEPS]) for k in range(0, len(seen), STEPS)]

    seen: list[torch.Tensor] = []
    one, two = orders(tmp_path / "one"), orders(tmp_path / "two")
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len({order.numpy().tobytes() for order in one}) == 4
    assert len({order.sort(0).values.numpy().tobytes() for order in one}) == 1


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    toy = Toy()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    fit(toy, epoch_data, toy_stage(tmp_path))
    assert torch.equal(torch.rand(2), expected)


def test_smallest_numbers_count_as_zero_in_a_training_only(tmp_path: Path) -> None:
    """Also behind a training that failed: SciPy's k-d tree needs them."""

    def tenth(value: float = 2e-38) -> float:
        return float(torch.tensor(value) / 10)

    seen = []
    fit(Toy(at_step=lambda step: seen.append(tenth())), epoch_data, toy_stage(tmp_path / "a"))
    assert not any(seen) and len(seen) == TRAIN.epochs * STEPS
    assert tenth() > 0
    with pytest.raises(ZeroDivisionError):
        fit(Toy(at_step=lambda step: 1 // 0), epoch_data, toy_stage(tmp_path / "b"))
    assert tenth() > 0


def test_loss_that_is_no_number_stops_with_a_remedy(tmp_path: Path) -> None:
    def data(epoch: int) -> Dataset:
        points = epoch_data(epoch)
        points.tensors[1].fill_(math.nan)
        return points

    with pytest.raises(UserError, match=r"'cddpm' is not a number.*cddpm\.train\.learning_rate"):
        fit(Toy(), data, toy_stage(tmp_path))
    assert not (tmp_path / "cddpm" / "last.ckpt").exists()


def test_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = pl.Trainer.save_checkpoint

    def until_full(trainer: pl.Trainer, path: Path) -> None:
        if trainer.current_epoch < 2:
            return save(trainer, path)
        Path(path).write_bytes(b"half of a checkpoint")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", until_full)
    with pytest.raises(UserError, match=r"last\.ckpt.*No space left.*free some disk space"):
        fit(Toy(), epoch_data, toy_stage(tmp_path))
    assert not list((tmp_path / "cddpm").glob("*.tmp"))
    monkeypatch.undo()
    resumed, undisturbed = Toy(), Toy()
    fit(resumed, epoch_data, toy_stage(tmp_path))
    fit(undisturbed, epoch_data, toy_stage(tmp_path / "other"))
    assert_same_weights(resumed, undisturbed)


def test_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    stage = toy_stage(tmp_path)
    stage.checkpoint_path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"last\.ckpt is damaged: delete it"):
        fit(Toy(), epoch_data, stage)


def test_interrupt_ends_the_training_and_not_the_process(tmp_path: Path) -> None:
    def interrupt(step: int) -> None:
        if step == STEPS + 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(Toy(at_step=interrupt), epoch_data, toy_stage(tmp_path))
        handler = signal.getsignal(signal.SIGINT)
        assert handler is signal.default_int_handler, "the next interrupt would be ignored"
    finally:
        signal.signal(signal.SIGINT, before)
    resumed = Toy()
    fit(resumed, epoch_data, toy_stage(tmp_path))
    assert len(resumed.rates) == 3 * STEPS


def test_last_batch_that_is_not_full_is_left_out_but_a_small_set_is_not(tmp_path: Path) -> None:
    sizes: list[int] = []
    for count in (6, 3):
        toy = Toy(dataclasses.replace(TRAIN, epochs=1))
        step = toy.training_step

        def watched(batch, index, step=step):
            sizes.append(len(batch[0]))
            return step(batch, index)

        toy.training_step = watched
        points = torch.utils.data.Subset(epoch_data(0), range(count))
        fit(toy, lambda epoch, points=points: points, toy_stage(tmp_path / str(count)))
    assert sizes == [4, 3]


def test_logs_and_progress_are_written(tmp_path: Path) -> None:
    stage = toy_stage(tmp_path)
    fit(Toy(), epoch_data, stage)
    assert list((stage.path / "logs").glob("events.*"))
    assert 0 < stage.seconds < 60 and stage.progress_path.exists()
    stage.finish({})
    assert not stage.progress_path.exists() and not stage.checkpoint_path.exists()
