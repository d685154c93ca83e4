"""The documents: their links lead somewhere, and the glossary is where readers look for it."""

import re
from pathlib import Path

import pytest

from tests.test_layout import tracked

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them: lower case, spaces to hyphens, no punctuation."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path) -> list[str]:
    """The links of a document to files or headings that are not there."""
    found = []
    for link in LINK.findall(without_code(path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        file = (path.parent / place).resolve() if place else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            found.append(link)
    return found


def test_every_link_leads_to_a_file_and_a_heading_that_are_there() -> None:
    assert {(str(p.relative_to(ROOT)), link) for p in documents() for link in broken(p)} == set()


@pytest.mark.parametrize(
    ("link", "right"), [("b.md", True), ("c.md", False), ("b.md#two-words", True), ("b.md#three", False)]
)
def test_a_broken_link_is_found(link: str, right: bool, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(f"See [this]({link}), not `[that](nowhere.md)`.\n")
    (tmp_path / "b.md").write_text("# Two `words`\n")
    assert broken(tmp_path / "a.md") == ([] if right else [link])


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_glossary_is_linked(name: str) -> None:
    assert "(docs/glossary.md)" in (ROOT / name).read_text()


def test_the_glossary_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    named = re.findall(r"`([\w/]+/[\w/]*\w(?:\.py|/)?)`", text)
    assert len(named) > 20
    missing = [n for n in named if not ((ROOT / "tuner" / n).exists() or (ROOT / n).exists())]
    assert [n for n in missing if not re.match(r"\w+/(f32|f16|int8)/", n)] == []
