"""What happens at the end of a training epoch: history, a line of progress, the checkpoint."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from sadm_utils import processes
from sadm_utils.config import TrainConfig
from sadm_utils.errors import UserError
from sadm_utils.stages import Stage, write_atomic

Validate = Callable[[pl.LightningModule], dict[str, float]]


class Progress(pl.Callback):
    """Keep the history, show one line of progress, and write what a resumed run needs."""

    def __init__(
        self, stage: Stage, train: TrainConfig, validate: Validate | None, average: pl.Callback
    ) -> None:
        self.stage, self.train_config, self.validate = stage, train, validate
        self.average = average
        self.history: list[dict[str, float]] = []
        self.show = line_printer() if processes.is_first() else lambda line: None

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = list(state["history"])
        if processes.is_first():
            print(
                f"Stage {self.stage.name}: resumed after epoch {len(self.history)} "
                f"of {self.train_config.epochs}.",
                flush=True,
            )

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.time()
        self.first_epoch = trainer.current_epoch

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        steps = max(1, int(trainer.num_training_batches))
        done = trainer.current_epoch + (index + 1) / steps
        if (index + 1) % max(1, steps // 4) == 0:
            self._report(done, processes.mean(outputs["loss"]))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {k: float(v) for k, v in trainer.callback_metrics.items()}
        if not math.isfinite(row.get("loss", 0.0)):
            key = getattr(module, "train_key", "") or f"{self.stage.name.split('-')[0]}.train"
            raise UserError(
                f"The loss of stage {self.stage.name!r} is not a number after epoch "
                f"{row['epoch']}: lower {key}.learning_rate."
            )
        if self.validate is not None:
            self.average.on_validation_epoch_start(trainer, module)  # measure what will be kept
            row |= self.validate(module)
            self.average.on_validation_epoch_end(trainer, module)
        self.history.append(row)
        if processes.is_first():
            table = pd.DataFrame(self.history).to_csv(index=False)
            write_atomic(self.stage.path / "history.csv", table)
        last = trainer.current_epoch + 1 == self.train_config.epochs
        if last or (trainer.current_epoch + 1) % self.train_config.checkpoint_every == 0:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        """Write ``last.ckpt`` through a temporary file: a kill never leaves half of one."""
        temporary = self.stage.checkpoint_path.with_suffix(".tmp")
        try:
            trainer.save_checkpoint(temporary)  # all processes; the first one writes
            if processes.is_first():
                os.replace(temporary, self.stage.checkpoint_path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UserError(
                f"Cannot write {self.stage.checkpoint_path} ({error.strerror or error}): free "
                "some disk space and run again; training resumes from the last checkpoint."
            ) from None

    def _report(self, done: float, loss: float) -> None:
        if not processes.is_first():
            return
        seconds = time.time() - self.started
        speed = (done - self.first_epoch) / max(seconds, 1e-6)
        left = (self.train_config.epochs - done) / speed
        self.show(
            f"epoch {done:.1f}".removesuffix(".0")
            + f" of {self.train_config.epochs} · loss {loss:.4f} · "
            f"{_minutes(self.stage.seconds)} spent · {_minutes(left)} left"
        )
        share = done / self.train_config.epochs
        self.stage.note({"done": share, "loss": loss, "left_s": round(left, 1)})


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def line_printer() -> Callable[[str], None]:
    """A line that replaces itself in a notebook; in a log, a new line at most every 15 s."""
    try:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None and hasattr(get_ipython(), "kernel"):
            handle = display({"text/plain": ""}, raw=True, display_id=True)
            return lambda line: handle.update({"text/plain": line}, raw=True)
    except ImportError:
        pass
    last = [0.0]

    def show(line: str) -> None:
        if time.time() - last[0] > 15:
            last[0] = time.time()
            print(line, flush=True)

    return show
