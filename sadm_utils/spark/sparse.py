"""Convolution, pooling and normalization that see only the visible patches.

SparK hides most patches of an image from a convolutional encoder.  A plain convolution would leak:
its window reaches over the border of a visible patch, and after a few layers nothing is hidden any
more.  A *sparse* layer computes the dense result and then erases it wherever the patch is hidden,

    sparse(op)(x) = visible · op(x),

so the pattern of hidden patches is the same after every layer (Tian et al., "Designing BERT for
convolutional networks", ICLR 2023, section 3.1).  Batch normalization additionally takes its
statistics from visible positions only: the many zeros would otherwise pull mean and variance down.

Each layer here is the torch layer of the same name with one more argument, ``visible``.  Without
it (``None``) the layer is the plain one, with the same parameters: learned sparse, used dense.
"""

import torch
from torch import Tensor, nn

from sadm_utils.batch_norm import BatchNorm2d


class Visible:
    """Which patches of a batch may be seen, at any resolution.

    The object travels through the forward pass as an argument; no layer stores it.

    Parameters
    ----------
    active : Tensor
        (B, 1, rows, columns) bool, one entry for each patch: True = visible.
    """

    def __init__(self, active: Tensor) -> None:
        self.active = active.bool()
        self._cache: dict[tuple[int, int], Tensor] = {}

    def at(self, height: int, width: int) -> Tensor:
        """The pattern enlarged (nearest neighbor) to (B, 1, height, width), bool.

        Raises
        ------
        ValueError
            If height and width are not multiples of the number of patch rows and columns.
        """
        if (height, width) not in self._cache:
            rows, columns = self.active.shape[-2:]
            if height % rows or width % columns:
                raise ValueError(
                    f"a {height}×{width} map cannot be divided into {rows}×{columns} patches"
                )
            tall = self.active.repeat_interleave(height // rows, dim=2)
            self._cache[height, width] = tall.repeat_interleave(width // columns, dim=3)
        return self._cache[height, width]

    def keep(self, features: Tensor) -> Tensor:
        """Set hidden positions of ``features`` (B, C, H, W) to zero."""
        return features * self.at(*features.shape[-2:]).to(features.dtype)


class SparseConv2d(nn.Conv2d):
    """A convolution whose output is erased at hidden positions."""

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        y = super().forward(x)
        return y if visible is None else visible.keep(y)


class SparseMaxPool2d(nn.MaxPool2d):
    """Max pooling whose output is erased at hidden positions."""

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        y = super().forward(x)
        return y if visible is None else visible.keep(y)


class SparseBatchNorm2d(BatchNorm2d):
    """Batch normalization with the statistics of visible positions; hidden ones stay zero.

    The n visible positions of the batch are lined up as a table (n, C), which is normalized as a
    whole, running statistics included, and written back.
    """

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        if visible is None:
            return super().forward(x)
        where = visible.at(*x.shape[-2:])[:, 0]
        pixels = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        table = super().forward(pixels[where])
        out = torch.zeros_like(pixels, dtype=table.dtype)  # keeps the memory format
        out[where] = table
        return out.permute(0, 3, 1, 2)
