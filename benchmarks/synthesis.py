"""Rows 1 and 2: synthetic anomalies, and simplex noise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import ceilings, peers
from benchmarks.inputs import brain_slices
from benchmarks.measure import interleave, ratio
from benchmarks.results import Row, peer, spread
from sadm_utils.cddpm.simplex import random_permutations, simplex_from_permutations, simplex_noise
from sadm_utils.draem.synthesis import DraemSynthesizer

#: Measured on the released code over 600 draws, not restricted to the brain (METHOD, "DRAEM").
REFERENCE_AREA, REFERENCE_EMPTY, REFERENCE_DRAWS = 0.041, 0.06, 600


def synthesis(quick: bool) -> Iterator[Row]:
    """Images a second of the DRAEM synthesis, and what its masks look like."""
    batch, size = (4, 32) if quick else (32, 96)
    image, mask = brain_slices(batch, size)
    arrays = list(zip(image[:, 0].numpy(), mask[:, 0].numpy(), strict=True))
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    ours = partial(DraemSynthesizer(), image, mask, generator)
    everywhere = partial(DraemSynthesizer(brain_only=False), image, mask, generator)

    def one_by_one() -> None:
        for x, brain in arrays:
            peers.draem(rng, x, brain)

    works = {"ours": ours, "peer": one_by_one, "everywhere": everywhere}
    times = interleave(works, 3 if quick else 30)
    moved = 6 * image.numel() * 4  # image and mask in; noise, texture, mask and result out
    rate = batch / times["ours"].seconds
    yield Row(
        "draem_synthesis",
        f"DRAEM synthesis, {batch} of {size}²",
        rate,
        "images/s",
        target=4000,
        floor=batch / (moved / ceilings.bandwidth(quick)),
        higher=True,
        peers=(
            peer(
                "NumPy, SciPy, Pillow",
                batch / times["peer"].seconds,
                ratio(times["peer"], times["ours"]),
                "image by image",
            ),
        ),
        details={
            "masks": mask_statistics(4 if quick else 100, batch, size),
            "images_per_s_without_brain_mask": batch / times["everywhere"].seconds,
            **spread(times["ours"]),
        },
    )


def mask_statistics(batches: int, batch: int, size: int) -> dict[str, Any]:
    """Mean area and share of empty masks, ours and the released code's, and their distance.

    The distances are in standard errors: up to about 3 is chance.
    """
    brain, generator = torch.ones(batch, 1, size, size), torch.Generator().manual_seed(1)
    synthesizer = DraemSynthesizer(brain_only=False)
    draws = [synthesizer.draw_anomalies(brain, generator)[1] for _ in range(batches)]
    area = torch.cat(draws).mean((1, 2, 3)).double()
    empty, count = float((area == 0).double().mean()), len(area)
    share = 1 / count + 1 / REFERENCE_DRAWS
    area_error = float(area.std()) * share**0.5
    empty_error = (REFERENCE_EMPTY * (1 - REFERENCE_EMPTY) * share) ** 0.5
    return {
        "images": count,
        "mean_area": float(area.mean()),
        "reference_area": REFERENCE_AREA,
        "area_distance": (float(area.mean()) - REFERENCE_AREA) / area_error,
        "empty": empty,
        "reference_empty": REFERENCE_EMPTY,
        "empty_distance": (empty - REFERENCE_EMPTY) / empty_error,
    }


def noise(quick: bool) -> Iterator[Row]:
    """Milliseconds for 32 different simplex fields."""
    batch, size = (2, 32) if quick else (32, 96)
    generator = torch.Generator().manual_seed(0)
    permutations = random_permutations(batch, generator)

    works = {
        "ours": lambda: simplex_noise(batch, size, size, generator),
        "peer": lambda: [peers.simplex(p.numpy(), size) for p in permutations[: 1 if quick else 4]],
    }
    scale = batch / (1 if quick else 4)
    library = _library(size)
    if library is not None:
        works["library"] = library
    times = interleave(works, 3 if quick else 30, limit=40)
    found = [
        peer(
            "NumPy",
            1e3 * scale * times["peer"].seconds,
            scale * ratio(times["peer"], times["ours"]),
            f"field by field, scaled by {scale:g}",
        )
    ]
    if library is not None:
        found.append(
            peer(
                "opensimplex",
                1e3 * batch * times["library"].seconds,
                batch * ratio(times["library"], times["ours"]),
                f"one field, scaled by {batch}",
            )
        )
    plan = size**2 * 48 * 8  # indices and weights of six octaves, read once
    own = simplex_from_permutations(permutations[:1], size, size)[0, 0].numpy()
    yield Row(
        "simplex_noise",
        f"Simplex noise, {batch} fields of {size}²",
        1e3 * times["ours"].seconds,
        "ms",
        target=7,
        floor=1e3 * (plan + batch * size**2 * 4) / ceilings.bandwidth(quick),
        peers=tuple(found),
        details={
            "largest_difference": float(
                np.abs(own - peers.simplex(permutations[0].numpy(), size)).max()
            ),
            **spread(times["ours"]),
        },
    )


def _library(size: int) -> Any:
    """One field of six octaves by the package opensimplex, or None where it is not installed."""
    try:
        import opensimplex
    except ImportError:
        return None

    def field() -> np.ndarray:
        opensimplex.seed(1)
        total = np.zeros((size, size))
        for octave in range(6):
            axis = np.arange(size) / (64 / 2**octave)
            total += 0.8**octave * opensimplex.noise2array(axis, axis)
        return total

    return field
