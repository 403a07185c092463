"""RD: a student that learns to say what the teacher says, of healthy slices only.

Deng and Li, "Anomaly detection via reverse distillation from one-class embedding", CVPR 2022. The
student does not see the slice. It gets the teacher's features through a narrow embedding and
rebuilds them from the top down: what is rare in healthy brains is lost on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sadm_utils.baselines.conv_autoencoder import grow
from sadm_utils.baselines.maps import score_volume
from sadm_utils.baselines.teacher import SCALES, PretrainedBaseline
from sadm_utils.config import Config, EvaluationConfig
from sadm_utils.sadm.network import ConvBlock
from sadm_utils.spark.model import fill_patches


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 − cosine of the feature vectors at each place: (B, C, H, W) twice to (B, 1, H, W).

    Where all features of the teacher are zero there is nothing to say: the distance is 0.
    """
    distance = 1 - F.cosine_similarity(student.float(), teacher.float(), dim=1)
    return torch.where(teacher.any(dim=1), distance, 0.0)[:, None]


def halve(in_channels: int, out_channels: int) -> nn.Sequential:
    """Halve the resolution and convolve: (B, in, H, W) to (B, out, H/2, W/2)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 2, stride=2), ConvBlock(out_channels, out_channels)
    )


class Embedding(nn.Module):
    """The one-class embedding: all scales at the coarsest one, joined, and halved once more.

    Parameters
    ----------
    channels
        Of the teacher's maps, shallow to deep.
    width
        Channels of the first scale here; the embedding has 2^SCALES times as many.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.shrink = nn.ModuleList()
        for scale, count in enumerate(channels):
            layers: list[nn.Module] = [nn.Conv2d(count, width * 2**scale, 1)]
            layers += [halve(width * 2**i, width * 2 ** (i + 1)) for i in range(scale, SCALES - 1)]
            self.shrink.append(nn.Sequential(*layers))
        self.join = halve(SCALES * width * 2 ** (SCALES - 1), width * 2**SCALES)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map the teacher's features to (B, width·8, H/32, W/32) of a slice's H and W."""
        shrunk = [shrink(x) for shrink, x in zip(self.shrink, maps, strict=True)]
        return self.join(torch.cat(shrunk, dim=1))


class Student(nn.Module):
    """Rebuild the teacher's maps from the embedding, the deepest first."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.up = nn.ModuleList(grow(width * 2 ** (i + 1), width * 2**i) for i in range(SCALES))
        self.heads = nn.ModuleList(
            nn.Conv2d(width * 2**i, count, 1) for i, count in enumerate(channels)
        )

    def forward(self, embedding: Tensor) -> list[Tensor]:
        """Maps of the teacher's shapes, shallow to deep."""
        x, maps = embedding, []
        for up, head in zip(reversed(self.up), reversed(self.heads), strict=True):
            x = up(x)
            maps.append(head(x))
        return maps[::-1]


class ReverseDistillation(PretrainedBaseline):
    """A frozen teacher, the embedding of its features, and the student."""

    title = "RD"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        channels, width = self.teacher.channels, config.baselines.width
        self.embedding = Embedding(channels, width)
        self.student = Student(channels, width)

    def distances(self, image: Tensor) -> list[Tensor]:
        """How far the student is from the teacher at each scale: (B, 1, H/2^(i+2), W/2^(i+2)).

        H and W are the slices' sides, filled up with background to multiples of 32.
        """
        maps = self.teacher(fill_patches(image))
        rebuilt = self.student(self.embedding(maps))
        return [cosine_distance(x, y) for x, y in zip(rebuilt, maps, strict=True)]

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The mean distance over places, summed over scales (RD, equation 2)."""
        return torch.stack([d.mean() for d in self.distances(batch["image"])]).sum()

    def score(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sum of the distances, enlarged to the slices' size: (B, 1, H, W) (RD, equation 3)."""
        height, width = image.shape[-2:]
        enlarged = [
            F.interpolate(d, scale_factor=2.0 ** (i + 2), mode="bilinear")
            for i, d in enumerate(self.distances(image))
        ]
        return torch.stack(enlarged).sum(0)[..., :height, :width]

    def anomaly_map(
        self, image: np.ndarray, mask: np.ndarray, settings: EvaluationConfig, seed: int
    ) -> np.ndarray:
        """The score of each slice, smoothed as the reconstruction maps are; nothing is random."""
        return score_volume(self, self.score, image, mask, settings, seed, filtered=True)
