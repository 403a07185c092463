"""What is wrong with the viewers of an open page: which do not start, which sliders do nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat

# Every viewer that is not ready; every slider that changes no picture on its way from end to end.
BROKEN = """async () => {
    const viewers = [...document.querySelectorAll('.sadm-viewer')];
    const rest = ms => new Promise(done => setTimeout(done, ms));
    const drawn = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    const until = Date.now() + 20000;
    while (viewers.some(v => v.dataset.state === 'loading') && Date.now() < until) await rest(20);
    const out = [];
    for (const viewer of viewers) {
        const name = (viewer.getAttribute('aria-label') ?? '').slice(0, 60);
        if (viewer.dataset.state !== 'ready') {
            out.push(`${viewer.dataset.state ?? 'never started'}: ${name}`);
            continue;
        }
        const sliders = [...viewer.querySelectorAll('input[type=range]')];
        if (!sliders.length) out.push(`no slider: ${name}`);
        for (const slider of sliders) {
            const start = slider.value, seen = new Set();
            const move = async stop => {
                slider.value = stop;
                slider.dispatchEvent(new Event('input', { bubbles: true }));
                await drawn();
            };
            for (const stop of [slider.min, slider.max]) {
                await move(stop);
                seen.add([...viewer.querySelectorAll('canvas')].map(c => c.toDataURL()).join());
            }
            await move(start);
            if (seen.size < 2) out.push(`slider ${slider.name} changes no picture: ${name}`);
        }
    }
    return out;
}"""
VIEWER_OF_A_CELL = re.compile(r"^viewers\.\w+_viewer\(", flags=re.MULTILINE)


def broken_viewers(tab: Any) -> list[str]:
    """What is wrong with the viewers of a page; empty if all work, or there are none."""
    return tab.evaluate(BROKEN)


def viewers_of_notebook(notebook: Path) -> int:
    """How many viewers the cells of a notebook show."""
    cells = nbformat.read(notebook, as_version=4).cells
    shown = [c.source for c in cells if "remove-output" not in c.metadata.get("tags", [])]
    return sum(len(VIEWER_OF_A_CELL.findall(source)) for source in shown)


def spec_of(viewer: Any) -> dict[str, Any]:
    """The numbers that a viewer carries."""
    return json.loads(viewer.locator("script[type='application/json']").text_content())


def rates_at(viewer: Any, stop: int) -> dict[str, float]:
    """Dice, precision and recall that a viewer shows when its threshold is moved to a stop."""
    return viewer.evaluate(
        """async (viewer, stop) => {
            const slider = viewer.querySelector('input[name=threshold]');
            slider.value = stop;
            slider.dispatchEvent(new Event('input', { bubbles: true }));
            await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
            return Object.fromEntries([...viewer.querySelectorAll('output[data-rate]')]
                .map(o => [o.dataset.rate, Number(o.dataset.value)]));
        }""",
        stop,
    )
