"""The command: ``python -m benchmarks [GROUP ...] [--quick] [--out FILE] [--update]``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import (
    evaluation,
    growth,
    items,
    preparation,
    profiles,
    reconstruction,
    synthesis,
    training,
)
from benchmarks.ceilings import all_ceilings
from benchmarks.results import Found, Profile, Row, table, write

GROUPS: dict[str, Callable[[bool], Iterator[Found]]] = {
    "synthesis": synthesis.synthesis,
    "noise": synthesis.noise,
    "items": items.items,
    "loader": items.loader,
    "slices": preparation.slices,
    "cddpm": training.cddpm,
    "reconstruction": reconstruction.reconstruction,
    "spark": training.spark,
    "sadm": training.sadm,
    "evaluation": evaluation.volume,
    "thresholds": evaluation.thresholds,
    "growth": growth.growth,
    "profiles": profiles.profiles,
}
RESULTS = Path(__file__).parent / "results.json"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"all by default: {', '.join(GROUPS)}"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no targets: a smoke test")
    parser.add_argument("--out", type=Path, default=None, help="default: benchmarks/results.json")
    parser.add_argument(
        "--update", action="store_true", help="keep the file's rows that are not measured now"
    )
    parser.add_argument("--threads", type=int, default=0, help="default: as torch finds")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.groups if name not in GROUPS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}: choose from {', '.join(GROUPS)}")
    if chosen.quick and chosen.out is None:
        parser.error("--quick gives figures that mean nothing: name a file for them with --out")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    chosen = parse(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    begin, found = time.perf_counter(), []
    ceilings = {k: float(f"{v:.4g}") for k, v in all_ceilings(chosen.quick).items()}
    print(json.dumps(ceilings), file=sys.stderr)
    for name in chosen.groups or GROUPS:
        for one in GROUPS[name](chosen.quick):
            if chosen.quick and isinstance(one, Row):  # targets are for the full sizes
                one = replace(one, target=None, memory_target_mb=None)
            found.append(one)
            minutes = (time.perf_counter() - begin) / 60
            print(f"{minutes:5.1f} min  {name}: {_brief(one)}", file=sys.stderr, flush=True)
            # After each row: what is measured is kept if the command is stopped.
            write(chosen.out or RESULTS, [one], ceilings, chosen.update or len(found) > 1)
    rows = [one for one in found if isinstance(one, Row)]
    if rows:
        print(table(rows))
    missed = [row.key for row in rows if row.met is False]
    print(f"targets missed: {', '.join(missed) if missed else 'none'}")


def _brief(one: Found) -> str:
    if isinstance(one, Row):
        return f"{one.title} {one.value:.4g} {one.unit}"
    if isinstance(one, Profile):
        parts = (f"{kind} {share:.0%}" for kind, share in one.shares.items())
        return f"{one.title} {one.seconds:.3g} s: {', '.join(parts)}"
    return f"{one.key} {[float(f'{y:.3g}') for y in one.y]} {one.unit}"


if __name__ == "__main__":
    main()
