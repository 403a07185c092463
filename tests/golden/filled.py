"""Our networks with the golden parameters, at the small size unless another one is given."""

from typing import TypeVar

from torch import nn

from sadm_utils.cddpm.unet import UNet
from sadm_utils.reference.names import reference_names
from tests.golden.fill_rule import fill

Net = TypeVar("Net", bound=nn.Module)


def filled(net: Net) -> Net:
    """Fill a network's parameters in place, and return it."""
    fill(net, rename=reference_names(net).get)
    return net


def filled_unet() -> UNet:
    """Small U-Net with the golden parameters."""
    return filled(UNet(32))
