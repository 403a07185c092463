"""The ResNet that is pretrained by SparK and then conditions the diffusion model.

One class serves both: ``encoder(image)`` is an ordinary ResNet (He et al., 2016; v1, with the
stride on the 3×3 convolution), and ``encoder.features(image, visible)`` is its sparse version,
which never looks at hidden patches.  Parameter names are those of torchvision and timm.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sadm_utils.processes import rows
from sadm_utils.spark.sparse import SparseBatchNorm2d, SparseConv2d, SparseMaxPool2d, Visible

#: Residual blocks in each of the four stages.
BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def drop_path(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth: drop the whole residual branch of an image with probability ``rate``.

    Kept branches are divided by 1 − rate, which keeps the expectation.
    """
    if rate == 0.0 or not training:
        return branch
    place = branch.device
    keep = rows(lambda n: torch.empty(n, 1, 1, 1, device=place).bernoulli_(1 - rate), len(branch))
    return branch * (keep / (1 - rate)).to(branch.dtype)


class Shortcut(nn.Sequential):
    """1×1 convolution and batch norm where a block changes resolution or channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            SparseConv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            SparseBatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        return self[1](self[0](x, visible), visible)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a skip connection (ResNet-18)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, rate: float) -> None:
        super().__init__()
        self.conv1 = SparseConv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = SparseBatchNorm2d(width)
        self.conv2 = SparseConv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = SparseBatchNorm2d(width)
        changes = stride != 1 or in_channels != width
        self.downsample = Shortcut(in_channels, width, stride) if changes else None
        self.rate = rate

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x, visible), visible))
        branch = self.bn2(self.conv2(branch, visible), visible)
        skip = x if self.downsample is None else self.downsample(x, visible)
        return F.relu(skip + drop_path(branch, self.rate, self.training))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and a skip connection (ResNet-50)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, rate: float) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = SparseConv2d(in_channels, width, 1, bias=False)
        self.bn1 = SparseBatchNorm2d(width)
        self.conv2 = SparseConv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = SparseBatchNorm2d(width)
        self.conv3 = SparseConv2d(width, out_channels, 1, bias=False)
        self.bn3 = SparseBatchNorm2d(out_channels)
        changes = stride != 1 or in_channels != out_channels
        self.downsample = Shortcut(in_channels, out_channels, stride) if changes else None
        self.rate = rate

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x, visible), visible))
        branch = F.relu(self.bn2(self.conv2(branch, visible), visible))
        branch = self.bn3(self.conv3(branch, visible), visible)
        skip = x if self.downsample is None else self.downsample(x, visible)
        return F.relu(skip + drop_path(branch, self.rate, self.training))


class ResNet(nn.Module):
    """ResNet-18 or ResNet-50 of any width, for images with any number of channels.

    Parameters
    ----------
    depth : 18 or 50
        Basic or bottleneck blocks.  The paper uses 50.
    width : int
        Channels of the stem; the stages have 1, 2, 4 and 8 times as many (times 4 for depth 50).
    in_channels : int
        Channels of the image.
    num_features : int or None
        Length of the output vector, made by a last linear layer ``fc``; the paper uses 512.
        None: no such layer, the output is the pooled last feature map.
    drop_path : float
        Largest rate of stochastic depth, reached linearly from 0 over the blocks.  The released
        code uses 0.05 although its configuration says 0.

    Raises
    ------
    ValueError
        For an unknown depth.
    """

    #: The last feature map is this many times smaller than the image.
    stride = 32

    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        in_channels: int = 1,
        num_features: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"ResNet depth must be one of {sorted(BLOCKS)}, not {depth}")
        block = BasicBlock if depth == 18 else Bottleneck
        self.conv1 = SparseConv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = SparseBatchNorm2d(width)
        self.maxpool = SparseMaxPool2d(3, stride=2, padding=1)

        total = sum(BLOCKS[depth])
        rates = iter([drop_path * k / (total - 1) for k in range(total)])
        channels, widths = width, [width * 2**i for i in range(4)]
        for i, (stage_width, count) in enumerate(zip(widths, BLOCKS[depth], strict=True)):
            stage = nn.ModuleList()
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                stage.append(block(channels, stage_width, stride, next(rates)))
                channels = stage_width * block.expansion
            self.add_module(f"layer{i + 1}", stage)

        #: Channels of the four feature maps, shallow to deep.
        self.channels = tuple(w * block.expansion for w in widths)
        self.fc = nn.Linear(channels, num_features) if num_features else nn.Identity()
        self._initialize()

    def _initialize(self) -> None:
        """He initialization; each block starts as the identity (its last gain is 0)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def features(self, image: Tensor, visible: Visible | None = None) -> list[Tensor]:
        """Feature maps at strides 4, 8, 16 and 32.

        Parameters
        ----------
        image : Tensor
            (B, in_channels, H, W).
        visible : Visible or None
            The visible patches.  Hidden ones must be zero in ``image`` and are zero in every map.

        Returns
        -------
        list of Tensor
            Four maps (B, channels[i], H / 2^(i+2), W / 2^(i+2)), shallow to deep.
        """
        x = F.relu(self.bn1(self.conv1(image, visible), visible))
        x = self.maxpool(x, visible)
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x, visible)
            maps.append(x)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """The feature vector (B, num_features) of an image (B, in_channels, H, W)."""
        return self.fc(self.features(image)[-1].mean(dim=(2, 3)))
