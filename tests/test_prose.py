"""The language of the pages: terms, names, American spelling, and links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests import prose

TERMS = prose.glossary()
PAGES = prose.page_names()
BRITISH = (
    r"colou?r(?<!color)\w*", "grey", r"centre[sd]?", r"tumours?", r"neighbour\w*", r"behaviour\w*",
    r"favour\w*", r"artefacts?", r"analys(?:e|ed|es|ing)(?<!analyses)", r"licences?", r"labell\w+",
    r"modell\w+", r"metres?", r"millimetres?", r"litres?", "whilst", "towards", "learnt",
    r"\w+(?:normal|optim|initial|standard|general|visual|summar|regular|character|synthes)is"
    r"(?:e|ed|es|ing|ation)",
)  # fmt: skip
NAMES = {
    r"ground[- ]truth": "truth",
    r"gold standard": "truth",
    r"heat ?maps?": "anomaly map",
    r"saliency": "anomaly map",
    r"dice scores?": "Dice",
    r"dsc": "Dice",
    r"pseudo-healthy": "reconstruction",
    r"reconstructed images?": "reconstruction",
    r"pathological|patholog(?:y|ies)": "sick, lesion",
    r"abnormal\w*": "sick, lesion, anomaly",
    r"(?:error maps?|difference images?)": "residual",
    r"residual maps?": "reconstruction map",
    r"baseline methods?": "comparison method",
    r"compet(?:itor|ing) methods?": "comparison method",
    r"segmentation output|prediction maps?": "supervised map",
    r"noise (?:steps?|intensit(?:y|ies))": "noise level",
    r"synthetic (?:patient|subject)s?|fake brains?": "phantom",
    r"(?:2D|3D) images?": "slice, volume",
    r"operating point": "validation threshold",
    r"note that|it is worth (?:not|mention)ing|of course|obviously|needless to say|in order to|"
    r"state[- ]of[- ]the[- ]art|simply|utili[sz]e\w*|leverag\w+": "nothing: it is filler",
}

every_page = pytest.mark.parametrize("name", PAGES)


@pytest.mark.parametrize("name", [name for name in PAGES if name not in prose.EXEMPT])
def test_terms_are_linked_where_a_page_first_uses_them(name: str) -> None:
    missing = {
        term: f"cell {cell}: …{match.string[max(match.start() - 40, 0) : match.end()]}"
        for term, (cell, match) in prose.unlinked(name, TERMS).items()
    }
    assert not missing, f"run `python tests/prose.py --link`, and read what it did: {missing}"


@every_page
def test_links_to_the_glossary_name_terms_of_it(name: str) -> None:
    for piece in prose.pieces(name):
        unknown = {term for term, _ in prose.linked(piece.text, TERMS)} - set(TERMS)
        assert name == "book/style" or not unknown


@every_page
def test_one_thing_has_one_name_and_american_spelling(name: str) -> None:
    found = []
    for piece in prose.pieces(name):
        text = prose.running_text(piece.text, headings_and_tables=True)
        for word in BRITISH:
            found += [m[0] for m in re.finditer(rf"\b(?:{word})\b", text, re.IGNORECASE)]
        for word, better in NAMES.items() if name != "book/style" else ():
            hits = re.finditer(rf"\b(?:{word})\b", text, re.IGNORECASE)
            found += [f"{m[0]} (write: {better})" for m in hits]
    assert not found


@every_page
def test_links_between_pages_lead_to_pages(name: str) -> None:
    path = prose.page_path(name)
    sources = {prose.page_path(page).resolve() for page in PAGES}
    for piece in prose.pieces(name):
        text = re.sub(r"`[^`]*`", "", piece.text)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"https?:|#|mailto:", target):
                assert (path.parent / target.split("#")[0]).resolve() in sources, target
        for target in re.findall(r"\{doc\}`(?:[^<`]*<)?([^>`]+)>?`", piece.text):
            assert (path.parent / f"{target}.md").resolve() in sources, target


@every_page
def test_tables_have_as_many_cells_in_each_row(name: str) -> None:
    for piece in prose.pieces(name):
        text = re.sub(r"```.*?```", "", piece.text, flags=re.DOTALL)
        text = re.sub(r"`[^`\n]*`|\$[^$\n]*\$|\\\|", "x", text)
        for table in re.findall(r"(?:^\|[^\n]*\|\n?)+", text, flags=re.MULTILINE):
            counts = {line.count("|") for line in table.splitlines()}
            assert len(counts) == 1, table


def test_words_are_spelled_right() -> None:
    """Codespell's list of common mistakes and of British spellings, over all text of ours."""
    folders = ["book", "notebooks", "sadm_utils", "benchmarks", "sweeps"]
    files = ["README.md", "CHANGELOG.md", "Makefile", "CITATION.cff"]
    command = [sys.executable, "-m", "codespell_lib", *folders, *files]
    result = subprocess.run(command, cwd=prose.ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_spell_check_sees_mistakes(tmp_path) -> None:
    (tmp_path / "page.md").write_text("The colour of teh brain.")
    command = [sys.executable, "-m", "codespell_lib", str(tmp_path)]
    result = subprocess.run(command, cwd=prose.ROOT, capture_output=True, text=True)
    assert result.returncode and {"colour", "teh"} <= set(result.stdout.split())


def test_running_text_is_what_a_reader_reads_in_sentences() -> None:
    page = (
        "# Voxel\n\nA voxel, `voxel`, $voxel$ and [voxel](x.md).\n\n| voxel |\n\n"
        "```python\nvoxel\n```\n\n```{admonition} Voxel\n:class: voxel\nA voxel.\n```\n\n"
        "```{figure} voxel.png\nvoxel\n```\n\n:::{note}\nvoxel\n:::\n\n*A voxel.*\n\n$$voxel$$\n"
    )
    text = prose.running_text(page)
    assert len(text) == len(page) and text.count("\n") == page.count("\n")
    assert len(re.findall("voxel", text)) == 3  # sentence, admonition, note
    more = prose.running_text(page, headings_and_tables=True)
    assert len(more) == len(page) and "# Voxel" in more and "| voxel |" in more
    assert len(re.findall("voxel", more)) == 4


def test_first_use_is_found_and_longer_terms_hide_shorter_ones(monkeypatch) -> None:
    terms = ["reconstruction map", "⌈Dice⌉", "residual", "voxel", "Dice"]
    text = "Reconstruction maps, a residual block, ⌈Dice⌉; dice. A {term}`voxel`, then voxels."
    monkeypatch.setattr(prose, "pieces", lambda name: [prose.Piece(name, None, text)])
    assert set(prose.unlinked("page", terms)) == {"reconstruction map", "⌈Dice⌉"}
