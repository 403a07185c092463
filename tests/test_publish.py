"""Footer, buttons, copies for Colab, execution times and sizes: what publishing adds to a site."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from sadm_utils.book import plan_book
from sadm_utils.data.sources import releases
from sadm_utils.execute import PACKAGE
from sadm_utils.execution_times import (
    MARK,
    NOTHING,
    UNBROKEN_DASH,
    UNBROKEN_SPACE,
    fill_execution_times,
)
from sadm_utils.foundations.data_sets import HOLDS
from sadm_utils.foundations.data_sets import MARK as DATA_SETS
from sadm_utils.offline import colab_link
from sadm_utils.publish import (
    footer,
    published_ref,
    read_records,
    site_settings,
    write_colab_copies,
)
from sadm_utils.site_size import page_sizes, shared_size, size_words
from sadm_utils.website import stage_text

ROOT = PACKAGE.parent
ADDRESS = "https://github.com/someone/sadm-book"
RECORD: dict[str, Any] = {
    "parameters": {"PROFILE": "demo", "RUN_DIR": "x"},
    "device": "CPU, 2 threads",
    "finished": "2026-01-02T03:04:05",
    "commit": "abc1234+",
    "seconds": 61.0,
    "peak_bytes": 2**30,
}
SETTINGS = (ROOT / "_config.yml").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def executed(folder: Path, name: str, **changes: Any) -> Path:
    """An executed notebook that holds nothing but its record."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    notebook = nbformat.v4.new_notebook(metadata={"sadm": {**RECORD, **changes}})
    nbformat.write(notebook, path)
    return path


def options_of(text: str) -> dict[str, Any]:
    return yaml.safe_load(text)["sphinx"]["config"]["html_theme_options"]


def with_address(address: str) -> str:
    """The book's settings with another address of the repository."""
    tree = yaml.safe_load(SETTINGS)
    assert "url" in tree["repository"], "the setting has moved"
    tree["repository"]["url"] = address
    return yaml.safe_dump(tree)


def test_footer_names_profile_device_date_and_every_commit() -> None:
    later = {**RECORD, "commit": "def5678", "finished": "2026-01-03T00:00:00"}
    text = footer([RECORD, later, RECORD])
    assert re.sub("<.*?>", "", text) == (
        "The run shown: profile demo, on CPU, 2 threads, finished on 2026-01-03, "
        "commit abc1234+, def5678."
    )
    assert "href" not in text and "say nothing" in footer([])
    assert f'href="{ADDRESS}/commit/abc1234"' in footer([RECORD], ADDRESS)
    assert "<b>" not in footer([{**RECORD, "device": "<b>"}])


def test_notebooks_without_a_record_are_left_out(tmp_path: Path) -> None:
    good = executed(tmp_path, "01_a")
    (tmp_path / "bad.ipynb").write_text("{")
    assert read_records([good, tmp_path / "bad.ipynb", tmp_path / "none.ipynb"]) == [RECORD]


def test_buttons_appear_with_the_address_alone() -> None:
    unset = options_of(site_settings(with_address(""), [RECORD]))
    button = re.compile("repository|edit|issue|launch")
    assert not [key for key in unset if button.search(key)] and "demo" in unset["extra_footer"]
    options = options_of(site_settings(with_address(f"{ADDRESS}/"), [RECORD]))
    assert options["repository_url"] == ADDRESS and options["use_edit_page_button"]
    assert {"colab_url", "binderhub_url"} <= set(options["launch_buttons"])
    assert options["use_download_button"], "the book's own options stay"


def test_copies_for_colab_install_the_book_and_run_what_comes_before(tmp_path: Path) -> None:
    plan = plan_book({})
    sources = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    assert write_colab_copies(sources, plan, tmp_path, "", "main", {}) == []
    timings = {run.name: {"seconds": 60.0} for run in plan}
    written = write_colab_copies(sources, plan, tmp_path, ADDRESS, "v1.2.0", timings)
    assert [path.stem for path in written] == list(sources)
    for path in written:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        first, *rest = notebook.cells
        wanted = f"git clone --quiet --depth 1 --branch v1.2.0 {ADDRESS} sadm-book"
        assert wanted in first.source
        assert [c.source for c in rest] == [
            c.source for c in nbformat.read(sources[path.stem], as_version=4).cells
        ]
    cells = {p.stem: nbformat.read(p, as_version=4).cells[0].source for p in written}
    assert "sadm run" not in cells["01_data_preparation"]
    assert "2:00 min" in cells["04_cddpm_training"], "chapters 1 and 3"
    assert "sadm run 05 -p ANNOTATIONS atlas_v2" in cells["06_evaluation"]
    ran = {name: re.findall(r"sadm run (\d+)", cell) for name, cell in cells.items()}
    assert ran["09_where_it_breaks"] == ["01", "03", "04", "05", "05", "05", "06"]
    assert ran["02_draem_anomalies"] == ["01"]


def test_the_copies_are_of_the_ref_that_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"repository": {"url": ADDRESS, "branch": "next"}}
    for ref, wanted in (
        ("refs/tags/v1.2.0", "v1.2.0"), ("refs/heads/a/b", "a/b"), ("refs/pull/7/merge", "next"),
        ("", "next"),
    ):  # fmt: skip
        monkeypatch.setenv("GITHUB_REF", ref)
        assert published_ref(config) == wanted
    assert published_ref({"repository": {"url": ADDRESS, "branch": ""}}) == "main"


def test_the_bibliography_names_sources_as_the_text_does() -> None:
    database = pytest.importorskip("pybtex.database")
    from sadm_utils.bibliography import AuthorYear

    entries = database.parse_file(ROOT / "book" / "references.bib").entries
    labels = dict(zip(entries, AuthorYear().format_labels(entries.values()), strict=True))
    assert labels["behrendt2024sadm"] == "Behrendt et al., 2024"
    assert labels["nichol2021improved"] == "Nichol and Dhariwal, 2021"
    assert len(set(labels.values())) == len(labels), "two sources with one name"


def test_colab_opens_the_published_copy() -> None:
    given = "https://colab.research.google.com/github/a/b/blob/main/notebooks/01_x.ipynb"
    assert colab_link(given, "main").endswith("/a/b/blob/gh-pages/colab/01_x.ipynb")


def test_execution_times_take_the_training_and_not_the_second_run(tmp_path: Path) -> None:
    assert fill_execution_times(f"a {MARK}", tmp_path) == f"a {NOTHING}"
    executed(tmp_path / "executed", "01_data_preparation", seconds=5.0)
    executed(tmp_path / "executed", "05_sadm_training-brats21")
    executed(tmp_path / "executed", "06_evaluation.failed")
    executed(tmp_path / "executed", "03_mine")
    long = {"seconds": 600.0, "peak_bytes": 3 * 2**30, "device": "A", "commit": "f00",
            "finished": "2026-01-01T00:00"}  # fmt: skip
    timings = {"01_data_preparation": long, "site": {"seconds": 30.0, "peak_bytes": 1}}
    (tmp_path / "timings.json").write_text(json.dumps(timings))
    text = fill_execution_times(MARK, tmp_path)
    lines = text.replace(UNBROKEN_SPACE, " ").replace(UNBROKEN_DASH, "-").splitlines()
    assert "[1. Data: from a scan to slices](../notebooks/01_data_preparation.ipynb)" in lines[2]
    assert "| 10:00 min | 3.0 GiB | A | 2026-01-01 | `f00` |" in lines[2]
    assert "`brats21` | 1:01 min | 1.0 GiB | CPU, 2 threads | 2026-01-02 | `abc1234+`" in lines[3]
    assert "building these pages" in lines[4]
    assert lines[5].startswith("| **together** | 11:31 min | 3.0 GiB")
    assert len(lines) == 6


def test_size_of_a_page_counts_what_it_loads_once(tmp_path: Path) -> None:
    for folder in ("_images", "_static", "book"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_images" / "a.png").write_bytes(b"x" * 1000)
    (tmp_path / "_static" / "shared.js").write_bytes(b"x" * 9000)
    page = '<img alt="" src="../_images/a.png"><img src="../_images/a.png"><img src="data:,x">'
    (tmp_path / "_static" / "a.css").write_bytes(b"x" * 791_000)
    sheet = '<link rel="stylesheet" type="text/css" href="../_static/a.css?digest=1">'
    again = '<link rel="preload" as="script" href="../_static/shared.js?digest=1">'
    (tmp_path / "book" / "one.html").write_text(
        page + sheet + again + '<script src="../_static/shared.js?digest=1">'
    )
    (tmp_path / "book" / "two.html").write_text("x" * 50)
    first, second = page_sizes(tmp_path)
    assert shared_size(tmp_path) == 800_000
    assert (first.page, first.loaded, second.total) == ("book/one.html", 1000, 50)
    words = size_words(tmp_path)
    assert "in 2 pages, the largest book/one.html with 0.0 MB, plus 0.8 MB shared by all" in words


def test_workflows_run_what_a_reader_runs_and_publish_on_a_tag() -> None:
    texts = {path.stem: path.read_text() for path in WORKFLOWS}
    assert set(texts) == {"ci", "links", "pages"}
    trees = {name: yaml.safe_load(text) for name, text in texts.items()}
    triggers = {name: tree[True] for name, tree in trees.items()}  # YAML reads `on` as true
    assert triggers["pages"]["push"] == {"tags": ["v*"]} and "schedule" in triggers["links"]
    runs = {
        name: [s.get("run", "") for job in tree["jobs"].values() for s in job["steps"]]
        for name, tree in trees.items()
    }
    ours = ("make", ".ci/")
    own = {name: [r for r in lines if r.startswith(ours)] for name, lines in runs.items()}
    assert own["ci"] == [".ci/run", "make pdf"] and own["links"] == ["make links"]
    assert own["pages"] == [".ci/chromium", "make test", "make book", "make pdf"]
    for name in ("ci", "pages"):
        assert "path: runs/demo" in texts[name], "the demo run is cached"
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    used = re.findall(r"\bmake ([a-z]+)\b", "\n".join(sum(runs.values(), [])))
    assert used and set(used) <= set(targets)


def test_the_weekly_check_reads_links_that_are_filled_in(tmp_path: Path) -> None:
    stage_text(tmp_path / "text")
    staged = (tmp_path / "text" / "book" / "limits.md").read_text()
    assert DATA_SETS in (ROOT / "book" / "limits.md").read_text(), "the mark has moved"
    addresses = [re.search(r"https://[^\s)]+", r.access)[0] for r in releases() if r.key in HOLDS]
    assert len(addresses) >= 5 and all(f"]({address})" in staged for address in addresses)
    names = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {path.name for path in (tmp_path / "text" / "notebooks").iterdir()} == names
    rule = (ROOT / "Makefile").read_text().partition("\nlinks:")[2].partition("\n\n")[0]
    stage, check = rule.splitlines()[1:]
    assert stage.endswith("-m sadm_utils.website _build/links/text")
    assert "build _build/links/text --builder linkcheck" in check


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")))
def test_issue_templates_are_forms(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    if path.stem != "config":
        assert {"name", "description", "body"} <= set(form)
        ids = [part["id"] for part in form["body"]]
        assert len(ids) == len(set(ids))


def test_contributing_names_only_what_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    paths = re.findall(r"`((?:sadm_utils|tests|book|notebooks)/[\w./]+)`", text)
    assert len(links) > 8 and len(paths) > 8
    missing = [name for name in [*links, *paths] if not (ROOT / name).exists()]
    assert missing in ([], ["book/style.md"])
    package = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    names = [name for name in re.findall(r"`([A-Z_]{4,})`", text) if name != "ORDER"]
    assert len(names) >= 6
    for name in names:
        assert re.search(rf"^{name}\b", package, flags=re.MULTILINE), f"{name} is not there"


def test_citation_agrees_with_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert citation["version"] == version[1]
    assert citation["title"] == yaml.safe_load(SETTINGS)["title"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {version[1]}" in changelog
    (paper,) = citation["references"]
    assert paper["year"] == 2024 and len(paper["authors"]) == 6
