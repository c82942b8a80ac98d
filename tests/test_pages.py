"""The pages for people: what they point to is there."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from pandatx import app  # noqa: F401 - with it come all modules that count something

ROOT = Path(__file__).parents[1]
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "bench" / "README.md"))
COUNTED = re.findall(r"^# TYPE (\w+)", generate_latest().decode(), re.M)


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_files_of_ours_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_0-9]+\.(?:py|sql))`", page.read_text())
    ours = {
        str(path.relative_to(ROOT))
        for room in ("pandatx", "tests", "bench", "twisted")
        for path in (ROOT / room).rglob("*.*")
    }
    assert [name for name in named if not any(path == name or path.endswith(f"/{name}") for path in ours)] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_metrics_that_a_page_names_are_counted(page: Path) -> None:
    named = re.findall(r"`(pandatx_[a-z_]+)(?:\{[^`]*)?`", page.read_text())
    assert [name for name in named if name not in COUNTED and name.removesuffix("_total") not in COUNTED] == []


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"\]\(([^)]+)\)", (ROOT / "docs" / "decisions" / "README.md").read_text())
    assert sorted(listed) == sorted(
        page.name for page in PAGES if page.parent.name == "decisions" and page.name != "README.md"
    )


def test_the_pages_are_read_as_they_are_written() -> None:
    """Else the others would show nothing."""
    page = (ROOT / "docs" / "operations.md").read_text()
    assert "`pandatx_lag_seconds`" in page and "](configuration.md)" in page
    assert "`store/jedi.py`" in (ROOT / "docs" / "architecture.md").read_text()
