"""Ten random operations that turn Perlin noise into textures.

All work on gray 8-bit images, a whole batch at once, with parameters drawn anew for each image.
Eight of them are *point operations*: the new value of a pixel depends on its old value only, so an
image needs nothing but a lookup table of 256 entries; two of the eight make it from a histogram.
Sharpness and rotation look at neighbors. Point operations in a row are one table, T₂[T₁[v]], so
pixels are touched only to be counted, where neighbors matter, and once at the end.

Drawn parameters lie in the ranges of the released code; the paper names seven of the ten
(:data:`PAPER_OPERATIONS`).  Auto-contrast, equalization, posterization, solarization and sharpness
follow the definitions of the Pillow library.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sadm_utils.draem.perlin import rotate

Generator = torch.Generator | None


def uniform(low: float, high: float, batch: int, generator: Generator) -> Tensor:
    """(batch, 1) numbers, uniform in [low, high)."""
    return torch.empty(batch, 1).uniform_(low, high, generator=generator)


def gamma(values: Tensor, batch: int, generator: Generator) -> Tensor:
    """Raise to a power in [0.5, 2)."""
    return 255 * (values / 255) ** uniform(0.5, 2, batch, generator)


def brightness(values: Tensor, batch: int, generator: Generator) -> Tensor:
    """Multiply by [0.8, 1.2) and add [−30, 30)."""
    factor = uniform(0.8, 1.2, batch, generator)
    return values * factor + uniform(-30, 30, batch, generator)


def color(values: Tensor, batch: int, generator: Generator) -> Tensor:
    """Add [−50, 50) to hue and saturation (full scale 255) and keep the red channel.

    A gray value V becomes V·(1 − S·k(hue)) with k = 0 within 60° of red: almost nothing happens to
    a gray image.  It is here so that the others are drawn as often as in the released code.
    """
    saturation = uniform(-50, 50, batch, generator).clamp(min=0) / 255
    hue = uniform(-50, 50, batch, generator) / 255 * 360
    return values * (1 - saturation * (hue.abs() / 60 - 1).clamp(0, 1))


def solarize(values: Tensor, batch: int, generator: Generator) -> Tensor:
    """In half of the images, invert the values from a threshold in [32, 128) on."""
    threshold = uniform(32, 128, batch, generator)
    happens = uniform(0, 1, batch, generator) < 0.5
    return torch.where(happens & (values >= threshold), 255 - values, values)


def posterize(values: Tensor, batch: int, generator: Generator) -> Tensor:
    """Keep the 1 to 8 most significant bits."""
    step = 2 ** torch.randint(0, 8, (batch, 1), generator=generator)
    return (values / step).floor() * step


def invert(values: Tensor, batch: int, generator: Generator) -> Tensor:
    """255 − value."""
    return (255 - values).expand(batch, -1)


def autocontrast(values: Tensor, histogram: Tensor, generator: Generator) -> Tensor:
    """Stretch to the full range after ignoring 0 to 20 % of the pixels at either end."""
    share = torch.randint(0, 21, (len(histogram), 1), generator=generator) / 100
    ignored = (histogram.sum(1, keepdim=True) * share).floor()
    low = (histogram.cumsum(1) <= ignored).sum(1, keepdim=True)
    high = 255 - (histogram.flip(1).cumsum(1) <= ignored).sum(1, keepdim=True)
    stretched = (values - low) * 255 / (high - low).clamp(min=1)
    return torch.where(high > low, stretched, values)


def equalize(values: Tensor, histogram: Tensor, generator: Generator) -> Tensor:
    """Make all gray values about equally frequent; an image of one value stays as it is."""
    last = 255 - (histogram.flip(1).cumsum(1) == 0).sum(1, keepdim=True)
    others = histogram.sum(1, keepdim=True) - histogram.gather(1, last.clamp(min=0))
    step = (others / 255).floor()
    below = histogram.cumsum(1) - histogram
    equalized = ((step / 2).floor() + below) / step.clamp(min=1)
    return torch.where(step > 0, equalized.floor(), values)


def sharpness(images: Tensor, generator: Generator) -> Tensor:
    """Blend with a smoothed copy by a factor in [0, 2): 0 smooth, 1 unchanged, 2 sharpened."""
    rows = F.pad(images, (1, 1, 1, 1), mode="replicate")
    columns = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]
    around = columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]
    smooth = (around + 4 * images) / 13
    factor = uniform(0, 2, len(images), generator)[..., None, None]
    return smooth + factor * (images - smooth)


def turn(images: Tensor, generator: Generator) -> Tensor:
    """Rotate by an angle in [−45°, 45°); black comes in from outside."""
    return rotate(images, uniform(-45, 45, len(images), generator)[:, 0])


#: (values (256,), number of images n, generator) → lookup tables (n, 256).
POINT: dict[str, Callable[[Tensor, int, Generator], Tensor]] = {
    "gamma": gamma,
    "brightness": brightness,
    "color": color,
    "solarize": solarize,
    "posterize": posterize,
    "invert": invert,
}
#: (values (256,), histograms (n, 256), generator) → lookup tables (n, 256).
COUNTING: dict[str, Callable[[Tensor, Tensor, Generator], Tensor]] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
}
#: (images (n, 1, H, W), generator) → images.
SPATIAL: dict[str, Callable[[Tensor, Generator], Tensor]] = {"sharpness": sharpness, "rotate": turn}

#: Everything the released code draws from.
OPERATIONS = (*POINT, *COUNTING, *SPATIAL)
#: The seven operations that the paper names.
PAPER_OPERATIONS = (
    *("posterize", "sharpness", "solarize", "equalize"),
    *("brightness", "color", "autocontrast"),
)


def histograms(images: Tensor) -> Tensor:
    """Counts of the 256 values in each image: (B, 1, H, W) integers 0 … 255 → (B, 256) float."""
    codes = images.long().flatten(1)
    return torch.zeros(len(images), 256).scatter_add_(1, codes, torch.ones(1).expand_as(codes))


def look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Replace each gray value by its entry in the image's table: (B, 1, H, W), (B, 256)."""
    return tables.gather(1, images.long().flatten(1)).view_as(images)


def lookup_tables(name: str, images: Tensor, generator: Generator = None) -> Tensor:
    """Draw an operation of :data:`POINT` or :data:`COUNTING` for each image, as its table.

    Returns
    -------
    Tensor
        (B, 256) float32 holding whole numbers 0 … 255: what becomes of each gray value.
    """
    values = torch.arange(256.0)
    if name in COUNTING:
        tables = COUNTING[name](values, histograms(images), generator)
    else:
        tables = POINT[name](values, len(images), generator)
    return tables.round().clamp(0, 255)


def apply_operation(name: str, images: Tensor, generator: Generator = None) -> Tensor:
    """Apply one operation, with parameters drawn for each image.

    Parameters
    ----------
    name : str
        One of :data:`OPERATIONS`.
    images : Tensor
        (B, 1, H, W) float32 holding whole numbers 0 … 255, on the CPU.
    generator : torch.Generator, optional
        Source of randomness, on the CPU.

    Returns
    -------
    Tensor
        Like ``images``.
    """
    if name in SPATIAL:
        return SPATIAL[name](images, generator).round().clamp(0, 255)
    return look_up(images, lookup_tables(name, images, generator))


def random_texture(
    images: Tensor,
    generator: Generator = None,
    operations: Sequence[str] = OPERATIONS,
    count: int = 3,
) -> tuple[Tensor, Tensor]:
    """Apply ``count`` different operations to each image, in random order.

    Images that draw the same operation at the same turn are treated together.

    Parameters
    ----------
    images : Tensor
        (B, 1, H, W) float32 holding whole numbers 0 … 255, on the CPU.
    generator : torch.Generator, optional
        Source of randomness, on the CPU.
    operations : sequence of str
        Names to draw from, without replacement.
    count : int
        How many for each image.

    Returns
    -------
    (Tensor, Tensor)
        The textures, like ``images``, and the drawn operations (B, count) as indices into
        ``operations``, in the order of application.

    Raises
    ------
    ValueError
        For an unknown operation, or a count above their number.
    """
    unknown = [name for name in operations if name not in OPERATIONS]
    if unknown or count > len(operations):
        raise ValueError(f"cannot draw {count} of {list(operations)}; known: {OPERATIONS}")
    order = torch.rand(len(images), len(operations), generator=generator).argsort(1)[:, :count]
    textures, values = images.clone(), torch.arange(256.0)
    tables = values.long().repeat(len(images), 1)
    for drawn in order.unbind(1):
        sizes = drawn.bincount(minlength=len(operations)).tolist()
        sequence = drawn.argsort(stable=True)
        steps = []
        for name, group in zip(operations, sequence.split(sizes), strict=True):
            if not len(group):
                continue
            if name in POINT:
                steps.append(POINT[name](values, len(group), generator))
            elif name in COUNTING:  # the histogram behind a table follows from the one before it
                before, counts = tables[group], histograms(textures[group])
                counts = torch.zeros_like(counts).scatter_add_(1, before, counts)
                steps.append(COUNTING[name](values, counts, generator))
            else:
                seen = look_up(textures[group], tables[group].float())
                textures[group] = apply_operation(name, seen, generator)
                tables[group] = values.long()
                steps.append(values.expand(len(group), -1))  # starts again without a change
        step = torch.cat(steps).round().clamp(0, 255).long()
        tables = step[sequence.argsort()].gather(1, tables)
    return look_up(textures, tables.float()), order
