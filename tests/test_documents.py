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


def test_the_files_that_the_architecture_names_are_there() -> None:
    """`engine/tuning/finals.py` from the lab's root or `tuner/`; a bare `cover.py` somewhere in the lab."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`([\w/]+\.py)`", text)
    own = [str(p.relative_to(ROOT)) for p in tracked() if p.suffix == ".py"]
    assert len(named) > 60
    assert [n for n in named if not any(f"/{file}".endswith(f"/{n}") for file in own)] == []


def test_the_tree_of_the_architecture_has_every_folder_of_the_lab() -> None:
    tree = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]
    shown = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    there = {
        p.relative_to(ROOT).parts[1] for p in tracked() if re.match(r"tuner/\w+/", str(p.relative_to(ROOT)))
    }
    assert shown == there - {"schedules"}  # the folder beside it, by another name
    engine = {
        p.relative_to(ROOT).parts[2]
        for p in tracked()
        if re.match(r"tuner/engine/\w+/", str(p.relative_to(ROOT)))
    }
    assert set(re.findall(r"^    (\w+)/  ", tree, re.MULTILINE)) >= engine


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_glossary_is_linked(name: str) -> None:
    assert "(docs/glossary.md)" in (ROOT / name).read_text()


def test_the_glossary_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    named = re.findall(r"`([\w/]+/[\w/]*\w(?:\.py|/)?)`", text)
    assert len(named) > 20
    missing = [n for n in named if not ((ROOT / "tuner" / n).exists() or (ROOT / n).exists())]
    assert [n for n in missing if not re.match(r"\w+/(f32|f16|int8)/", n)] == []
