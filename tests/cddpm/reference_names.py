"""Names that the released code gives to the parameters of the U-Net (for the golden vectors)."""

from sadm_utils.cddpm.unet import UNet
from tests.golden.fill_rule import fill

PARTS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "film": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
}
PREFIXES = {
    "time_mlp": "time_embed",
    "cond_mlp": "label_emb",
    "stem": "input_blocks.0.0",
    "middle1": "middle_block.0",
    "attention": "middle_block.1",
    "middle2": "middle_block.2",
    "head_norm": "out.0",
    "head": "out.2",
}


def reference_names(net: UNet) -> dict[str, str]:
    """Map each of our parameter names to the reference's."""
    prefixes = dict(PREFIXES)
    for i in range(len(net.down)):
        prefixes[f"down.{i}"] = f"input_blocks.{i + 1}.0"
    stage = -1
    for i, block in enumerate(net.up):
        stage += block.resample is None
        prefixes[f"up.{i}"] = f"output_blocks.{stage}.{int(block.resample is not None)}"
    names = {}
    for ours in net.state_dict():
        prefix = max((p for p in prefixes if ours.startswith(p + ".")), key=len)
        part, _, leaf = ours[len(prefix) + 1 :].rpartition(".")
        part = "proj_out" if (prefix, part) == ("attention", "out") else PARTS.get(part, part)
        names[ours] = ".".join(p for p in (prefixes[prefix], part, leaf) if p)
    return names


def filled_unet(width: int = 32) -> UNet:
    """Small U-Net with the golden parameters."""
    net = UNet(width)
    fill(net, rename=reference_names(net).get)
    return net
