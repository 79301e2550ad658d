"""Private words of the project stay out: code, texts and documents use the standard terms of the field."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEXTS = (".py", ".md", ".js", ".html", ".toml", ".yml", ".yaml", ".css")
# This list itself, and other projects' files.
LEFT_OUT = ("tests/unit/project/test_wording.py", "tests/acceptance/node/")
PRIVATE_WORDS = (
    "SharedLooks|Casualty|Ladder|Takeover|StateKeeper|WaitingLine|SessionLine|Healer",
    "ask again|for ever|meanwhile|somebody|last words|of nobody|waiting line",
    "mends?|mended|take back|taken back",
    # Notes that are not part of the project.
    r"facts\.md|spec\.md|design\.md|issue \d+",
)
NEEDS_CLONE = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs a clone and git"
)
OPENING = re.compile(r'^\s*"""(?:Gives?|Tells?)\b', re.MULTILINE)


def texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8"
    )
    names = [name for name in listed.stdout.split("\0") if name.endswith(TEXTS)]
    return [ROOT / name for name in names if not name.startswith(LEFT_OUT) and (ROOT / name).exists()]


@NEEDS_CLONE
@pytest.mark.parametrize("words", PRIVATE_WORDS)
def test_no_private_word_is_used(words: str) -> None:
    pattern = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in texts()
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@NEEDS_CLONE
def test_docstrings_begin_with_an_imperative_verb_of_pep_257() -> None:
    sources = [path for path in texts() if path.suffix == ".py"]
    assert sources
    assert [str(path) for path in sources if OPENING.search(path.read_text(encoding="utf-8"))] == []
