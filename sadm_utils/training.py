"""Train any of the book's networks: one loop, resumable, with progress and a history.

Nothing here knows what is trained. A chapter gives a Lightning module with a ``training_step``, a
dataset for each epoch, and a stage to write into. All randomness of a step comes from generators
that are pure functions of (seed, epoch, step): a killed and resumed training takes the same steps
as an undisturbed one, and several processes take the same steps as one (:mod:`processes`).
"""

from __future__ import annotations

import logging
import math
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_utilities|torch\.utils")

import pytorch_lightning as pl  # noqa: E402  (after the filters: it speaks while importing)
import torch  # noqa: E402
from pytorch_lightning.callbacks import WeightAveraging  # noqa: E402
from pytorch_lightning.loggers import TensorBoardLogger  # noqa: E402
from pytorch_lightning.plugins.environments import (  # noqa: E402
    LightningEnvironment,
    TorchElasticEnvironment,
)
from torch.optim.swa_utils import get_ema_multi_avg_fn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from sadm_utils import device, processes  # noqa: E402
from sadm_utils.batch_norm import share_statistics  # noqa: E402
from sadm_utils.config import TrainConfig  # noqa: E402
from sadm_utils.epochs import Progress, Validate  # noqa: E402
from sadm_utils.errors import UserError  # noqa: E402
from sadm_utils.optim import Muon, is_matrix  # noqa: E402
from sadm_utils.stages import Stage  # noqa: E402

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

EpochData = Callable[[int], Dataset]
SCHEDULE_SALT, SHUFFLE_SALT, LAYER_SALT = 11, 13, 31


class TrainedModule(pl.LightningModule):
    """A network with its optimizer: Adam(W), linear warm-up, then constant or cosine decay.

    Attributes
    ----------
    draws_rows
        True if all that is random in a step is drawn by :func:`processes.rows`. Several processes
        then take the steps of one; else each draws on its own, which is as good but not the same.
    """

    betas = (0.9, 0.999)
    train_key = ""
    """Where ``train`` stands in the configuration; empty for ``<stage>.train``."""
    draws_rows = False

    def __init__(self, train: TrainConfig, seed: int) -> None:
        super().__init__()
        self.train_config = train
        self.seed = seed
        self.total_steps = 1  # known when training starts

    def on_train_start(self) -> None:
        self.total_steps = self.train_config.epochs * int(self.trainer.num_training_batches)

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed what layers draw from torch's global generator (drop path) by the step alone."""
        torch.manual_seed(self._generator(LAYER_SALT).initial_seed())
        processes.set_in_step(True)

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        processes.set_in_step(False)

    def log(self, name: str, value: Any, **options: Any) -> None:
        """Log a figure; of several processes, their mean, since their shares are equal."""
        super().log(name, value, **{"sync_dist": processes.count() > 1, **options})

    def muon_module(self) -> torch.nn.Module:
        """The part whose weight matrices Muon updates, if it is chosen; Adam does the rest."""
        return self

    def step_generator(self) -> torch.Generator:
        """A generator for the random draws of the present step."""
        return self._generator(SCHEDULE_SALT)

    def _generator(self, salt: int) -> torch.Generator:
        own = processes.rank() if not self.draws_rows else 0
        return device.generator(self.seed, salt, self.global_step, *([own] if own else []))

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with decoupled weight decay (with decay 0 it is Adam), or Muon."""
        train = self.train_config
        weights = [p for p in self.parameters() if p.requires_grad]
        options = {"lr": train.learning_rate, "betas": self.betas}
        options["weight_decay"] = train.weight_decay
        optimizer: torch.optim.Optimizer
        if train.optimizer == "muon":
            matrices = [p for p in self.muon_module().parameters() if is_matrix(p)]
            chosen = {id(p) for p in matrices}
            optimizer = Muon(matrices, [p for p in weights if id(p) not in chosen], **options)
        else:
            clip = bool(train.gradient_clip)  # Lightning cannot clip for a fused optimizer
            optimizer = torch.optim.AdamW(weights, fused=not clip, **options)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        each_step = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": each_step}

    def learning_rate_factor(self, step: int) -> float:
        """Share of the learning rate at a step."""
        train = self.train_config
        if step < train.warmup_steps:
            return (step + 1) / train.warmup_steps
        done = min(1.0, (step - train.warmup_steps) / max(1, self.total_steps - train.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return train.final_lr_fraction + (1 - train.final_lr_fraction) * cosine


class EpochLoader(pl.LightningDataModule):
    """Serve a fresh dataset for each epoch, shuffled as a pure function of (seed, epoch).

    Of each batch, a process gets its own rows.
    """

    def __init__(self, epoch_data: EpochData, train: TrainConfig, seed: int) -> None:
        super().__init__()
        self.epoch_data, self.train_config, self.seed = epoch_data, train, seed

    def train_dataloader(self) -> DataLoader:
        # Of a resumed training, `current_epoch` would still be the epoch before.
        epoch = self.trainer.fit_loop.epoch_progress.current.processed
        data = self.epoch_data(epoch)
        size = len(data)  # type: ignore[arg-type]
        draw = device.generator(self.seed, SHUFFLE_SALT, epoch)
        batch = min(self.train_config.batch_size, size)
        own = processes.share(batch)
        order = torch.randperm(size, generator=draw)  # the same, however often begun
        batches = order[: size // batch * batch].view(-1, batch)
        return DataLoader(
            data,
            batch_size=own.stop - own.start,
            sampler=batches[:, own].flatten().tolist(),
            num_workers=self.train_config.workers,
            generator=draw,
            pin_memory=device.get_device().type != "cpu",
        )


def fit(
    module: TrainedModule,
    epoch_data: EpochData,
    stage: Stage,
    validate: Validate | None = None,
) -> pd.DataFrame:
    """Train ``module`` to the last epoch of its configuration, from ``last.ckpt`` if there is one.

    With ``ema_decay`` the module ends with the moving average of its weights.

    Parameters
    ----------
    epoch_data
        Maps the epoch number to the dataset of that epoch.
    stage
        A stage that has begun; its folder receives checkpoint, history and logs.
    validate
        Called after each epoch with the weights that would be kept; its figures join the history.

    Returns
    -------
    The history: one row an epoch with ``epoch``, ``step``, ``loss`` and what ``validate`` gave.

    Raises
    ------
    UserError
        If the disk is full, the checkpoint damaged, the loss no number, or this process not one of
        as many as the configuration asks for.
    """
    train = module.train_config
    placement = _placement(module)
    resume = _checkpoint(stage)
    average = pl.Callback()
    if train.ema_decay:  # what Lightning's own moving average does, in one pass over the weights
        average = WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(train.ema_decay))
    progress = Progress(stage, train, validate, average)
    trainer = pl.Trainer(
        accelerator=device.get_device().type,
        **placement,
        max_epochs=train.epochs,
        precision=device.lightning_precision(train.precision),  # type: ignore[arg-type]
        gradient_clip_val=train.gradient_clip or None,
        callbacks=[average, progress],
        logger=TensorBoardLogger(stage.path, name=None, version="logs"),
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,  # EpochLoader gives each process its rows
    )
    data = EpochLoader(epoch_data, train, module.seed)
    with _interruptible(trainer), device.seeded(module.seed, LAYER_SALT), device.tiny_as_zero():
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        finally:
            processes.set_in_step(False)
    if train.ema_decay:  # not done by a run that was killed behind its last epoch
        average.on_train_end(trainer, module)
    return pd.DataFrame(progress.history)


def _placement(module: TrainedModule) -> dict[str, Any]:
    """Where Lightning computes; the processes are there already, it shall start none."""
    train = module.train_config
    wanted = train.devices * train.nodes
    if wanted != processes.count():
        raise UserError(
            f"A training with devices {train.devices} and nodes {train.nodes} needs {wanted} "
            f"processes, and this is {processes.count()}: start it by 'sadm train'."
        )
    if wanted == 1:
        return {"devices": 1, "plugins": [LightningEnvironment()]}
    share_statistics(module)
    return {
        "devices": train.devices,
        "num_nodes": train.nodes,
        "strategy": "ddp" if train.strategy == "auto" else train.strategy,
        "plugins": [TorchElasticEnvironment()],
    }


def _checkpoint(stage: Stage) -> Path | None:
    """The checkpoint to resume from; without one, what an earlier start has logged is removed."""
    path = stage.checkpoint_path
    if not path.exists():
        if processes.is_first():
            shutil.rmtree(stage.path / "logs", ignore_errors=True)
        return None
    if not zipfile.is_zipfile(path):
        raise UserError(f"The checkpoint {path} is damaged: delete it and run again.")
    return path


@contextmanager
def _interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Let an interrupt end the training, not the process: Lightning would call ``sys.exit``."""
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
