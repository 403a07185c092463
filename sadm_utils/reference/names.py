"""What the released code calls the parameters of our networks.

Names are relative to the network, as in the inventories of ``tests/golden``: the U-Net to
``diffusion.model.``, the encoder to ``encoder.``, SparK to ``model.``, the segmentation network to
``SegUnet.``.
"""

from __future__ import annotations

import re

from torch import nn

from sadm_utils.cddpm.unet import UNet
from sadm_utils.sadm.network import SegmentationUNet
from sadm_utils.spark.model import SparK
from sadm_utils.spark.resnet import ResNet

UNET_LAYERS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "film": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
}
UNET_PARTS = {
    "time_mlp": "time_embed",
    "cond_mlp": "label_emb",
    "stem": "input_blocks.0.0",
    "middle1": "middle_block.0",
    "attention": "middle_block.1",
    "middle2": "middle_block.2",
    "head_norm": "out.0",
    "head": "out.2",
}
#: Linear maps that the released code writes as convolutions of length 1.
UNET_CONVOLUTIONS = ("attention.qkv.weight", "attention.out.weight")
DECODER_LAYERS = {
    "up": "up",
    "conv1": "conv.0.b.0",
    "bn1": "conv.0.b.1",
    "conv2": "conv.0.b.3",
    "bn2": "conv.0.b.4",
}
SEGMENTATION_LAYERS = {
    "conv1": "block.1",
    "norm1": "block.3",
    "conv2": "block.5",
    "norm2": "block.7",
}


def reference_names(net: nn.Module) -> dict[str, str]:
    """Map each name in the state dict of one of our four networks to the released code's name.

    Raises
    ------
    TypeError
        For a module that is none of them.
    """
    if isinstance(net, UNet):
        return _unet_names(net)
    for kind, rename in (
        (ResNet, "encoder.{}".format),
        (SparK, _spark_name),
        (SegmentationUNet, _segmentation_name),
    ):
        if isinstance(net, kind):
            return {name: rename(name) for name in net.state_dict()}
    raise TypeError(f"{type(net).__name__} has no counterpart in the released code.")


def reference_shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter and buffer of one of our networks, by the released code's names."""
    names, shapes = reference_names(net), {}
    for name, tensor in net.state_dict().items():
        extra = (1,) if isinstance(net, UNet) and name in UNET_CONVOLUTIONS else ()
        shapes[names[name]] = (*tensor.shape, *extra)
    return shapes


def _unet_names(net: UNet) -> dict[str, str]:
    parts = dict(UNET_PARTS)
    for i in range(len(net.down)):
        parts[f"down.{i}"] = f"input_blocks.{i + 1}.0"
    stage = -1
    for i, block in enumerate(net.up):  # an upsampling block belongs to the stage before it
        stage += block.resample is None
        parts[f"up.{i}"] = f"output_blocks.{stage}.{int(block.resample is not None)}"
    names = {}
    for name in net.state_dict():
        part = max((p for p in parts if name.startswith(p + ".")), key=len)
        layer, _, leaf = name[len(part) + 1 :].rpartition(".")
        out = (part, layer) == ("attention", "out")
        layer = "proj_out" if out else UNET_LAYERS.get(layer, layer)
        names[name] = ".".join(p for p in (parts[part], layer, leaf) if p)
    return names


def _spark_name(name: str) -> str:
    name = re.sub(r"^encoder\.", "sparse_encoder.sp_cnn.", name)
    name = re.sub(r"^densify\.(\d)\.norm", r"en_de_norms.\1", name)
    name = re.sub(r"^densify\.(\d)\.project", r"en_de_lins.\1", name)
    name = re.sub(r"^densify\.(\d)\.token", r"mask_tokens.\1", name)
    name = re.sub(r"^decoder\.head", "dense_decoder.proj", name)
    return re.sub(
        r"^decoder\.stages\.(\d)\.(\w+)",
        lambda m: f"dense_decoder.dec.{m[1]}.{DECODER_LAYERS[m[2]]}",
        name,
    )


def _segmentation_name(name: str) -> str:
    name = re.sub(r"(conv|norm)[12]", lambda m: SEGMENTATION_LAYERS[m[0]], name)
    name = re.sub(r"^down\.(\d)", r"down_path.\1", name)
    name = re.sub(r"^up\.(\d)\.block", r"up_path.\1.conv_block", name)
    name = re.sub(r"^up\.(\d)\.up", r"up_path.\1.up", name)
    return re.sub(r"^head", "last", name)
