"""A Sphinx extension: a bibliography whose labels are those of the text, author and year."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle

STYLE = "sadm_author_year"


def setup(app: Any) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    register_plugin("pybtex.style.labels", STYLE, AuthorYear)
    register_plugin("pybtex.style.formatting", STYLE, Sorted)
    app.config.bibtex_default_style = STYLE
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class AuthorYear(BaseLabelStyle):
    """Labels by the names of one or two authors, or the first of more, and the year."""

    def format_labels(self, sorted_entries: Sequence[Any]) -> Iterator[str]:
        """Yield a label for each entry."""
        for entry in sorted_entries:
            people = entry.persons.get("author", [])
            names = [" ".join(p.rich_last_names[-1].render_as("text").split()) for p in people]
            who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
            yield ", ".join(filter(None, (who, entry.fields.get("year", ""))))


class Sorted(Style):
    """Sorted by author and year."""

    default_label_style = STYLE
    default_sorting_style = "author_year_title"
