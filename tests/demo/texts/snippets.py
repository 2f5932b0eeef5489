"""Five words each of manual pages in ten languages, with the language as the label, split by the name of the page.

The texts are those of Debian's packages `manpages-de`, `-fr` and so on, which are downloaded, unpacked and read in the
working folder: nothing is installed. They are under free licences of several kinds, and no part of the project.
"""

import gzip
import hashlib
import json
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

LANGUAGES = ("da", "de", "es", "fr", "it", "nl", "pl", "pt-br", "ro", "sv")
COUNTS = {"train": 600, "validation": 60, "test": 150}
"""Snippets of each language in a split."""
LABELLED = 16
"""Training snippets of each language whose label the student and its control see."""
WORDS = 5
_MACRO = re.compile(r"^[.'].*$", re.MULTILINE)
_ESCAPE = re.compile(r"\\f[A-Z]|\\f\(..|\\f\[[^]]*\]|\\[,/&|^%]|\\\(..|\\\*.|\\s[-+]?\d|\\.")
_WORD = re.compile(r"[^\W\d_]{2,}")


def write_snippets(path: Path, work: Path) -> int:
    """Write JSON lines {text, label, few, split}; `few` is null for all but LABELLED training snippets of a language.

    Returns the number of rows. Raises SystemExit where the packages cannot be downloaded.
    """
    rows = []
    seen: set[str] = set()
    for language in LANGUAGES:
        for split, snippets in _by_split(_pages(language, work)).items():
            # Sentences that stand on many pages would be in several splits.
            new = [text for text in dict.fromkeys(snippets) if text not in seen][: COUNTS[split]]
            seen.update(new)
            for i, text in enumerate(new):
                few = language if split != "train" or i < LABELLED else None
                rows.append({"text": text, "label": language, "few": few, "split": split})
    random.Random(0).shuffle(rows)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def _pages(language: str, work: Path) -> Iterator[tuple[str, str]]:
    """(name, plain text) of each manual page of a language."""
    folder = work / "packages" / language
    folder.mkdir(parents=True)
    package = f"manpages-{language}"
    done = subprocess.run(["apt-get", "download", "-q", package], cwd=folder, capture_output=True, text=True)
    found = next(folder.glob("*.deb"), None)
    if found is None:
        raise SystemExit(f"expected the Debian package {package}, found: {done.stderr.strip()}: run `apt-get update`")
    subprocess.run(["dpkg-deb", "-x", str(found), str(folder / "files")], check=True)
    for page in sorted((folder / "files").rglob("man*/*.gz")):
        text = gzip.decompress(page.read_bytes()).decode("utf-8", "replace")
        yield page.name, _ESCAPE.sub("", _MACRO.sub("", text))


def _by_split(pages: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Snippets of five words by split, in an order that does not depend on the pages' names."""
    found: dict[str, list[str]] = {split: [] for split in COUNTS}
    for name, text in pages:
        words = [word.lower() for word in _WORD.findall(text)]
        snippets = (" ".join(words[i : i + WORDS]) for i in range(0, len(words) - WORDS, WORDS))
        found[_split_of(name)] += snippets
    for chosen in found.values():
        random.Random(0).shuffle(chosen)
    return found


def _split_of(page: str) -> str:
    """The split of a page, in whatever language: 7 of 10 names for training, 1 for validation, 2 for the test."""
    place = hashlib.sha256(page.encode()).digest()[0] % 10
    return "train" if place < 7 else "validation" if place == 7 else "test"
