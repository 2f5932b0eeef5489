"""Reads the compose file and the Dockerfiles as Compose and Docker do, as far as ours go."""

import fnmatch
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SECRETS = {"POSTGRES_PASSWORD": "ein/Pass:wort@%", "STILLHOUSE_API_KEY": "a-key-of-sixteen-or-more"}
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:\?|:-)([^}]*))?\}")


class Unset(Exception):
    """A variable that must be set is not."""


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """`text` with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` filled in. Raises Unset."""

    def fill(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if values.get(name):
            return values[name]
        if operator == ":?":
            raise Unset(f"{name}: {rest}")
        return rest or ""

    return _VARIABLE.sub(fill, text)


def load(name: str = "docker-compose.yml") -> dict[str, Any]:
    """The document, its anchors and merges resolved, its variables not yet."""
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return document


def environment(service: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service; one without a value is taken from `values`, or left out."""
    found = service.get("environment", {})
    passed = {name: values[name] for name, value in found.items() if value is None and name in values}
    return passed | {name: interpolate(str(value), values) for name, value in found.items() if value is not None}


def seconds(duration: str) -> float:
    """`45s`, `2m` as seconds."""
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


@dataclass(frozen=True)
class Image:
    """A Dockerfile's instructions, continued lines joined, in their order."""

    path: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, keyword: str) -> list[str]:
        """What stands behind each instruction with this keyword."""
        return [rest for word, rest in self.instructions if word == keyword]

    @property
    def sources(self) -> list[str]:
        """What is copied from the repository."""
        words = [line.split() for line in self.all("COPY") if not line.startswith("--from")]
        return [source for line in words for source in line[:-1]]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the last stage."""
        start = max(index for index, (word, _) in enumerate(self.instructions) if word == "FROM")
        pairs = " ".join(rest for word, rest in self.instructions[start:] if word == "ENV").split()
        return dict(pair.split("=", 1) for pair in pairs)


def image(path: str) -> Image:
    """The Dockerfile at `path`, from the repository's root."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    words = [line.split(None, 1) for line in joined]
    return Image(path, tuple((keyword, rest) for keyword, rest in words))


def build_context() -> list[Path]:
    """The project's files that `.dockerignore` lets into a build: the last rule that matches a path decides."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    paths = [Path(line) for line in listed.splitlines()]
    return [path for path in paths if (ROOT / path).is_file() and not _ignored(path, rules)]


def _ignored(path: Path, rules: list[str]) -> bool:
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!")
        if any(_matches(part, pattern) for part in (path, *path.parents)):
            ignored = not rule.startswith("!")
    return ignored


def _matches(path: Path, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.name, pattern[3:])
    return path != Path() and len(path.parts) == 1 and fnmatch.fnmatchcase(path.name, pattern)
