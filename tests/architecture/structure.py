"""The structure of the code in figures: entries, levels and circles of imports, lines.

python -m tests.architecture.structure [REVISION …]

Without a revision the working tree is measured; with several the figures stand one below the other. Every import
counts, those under TYPE_CHECKING and inside functions too.
"""

import ast
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from io import BytesIO
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
PACKAGES = ("workers/engine", "app/contracts")
Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Modules:
    """The modules of a source tree and what each imports, by dotted names."""

    imports: Graph
    lines: Mapping[str, int]
    functions: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, root: Path) -> "Modules":
        """Read `app` and `workers` below `root`."""
        paths = {
            _dotted(path.relative_to(root)): path for top in ("app", "workers") for path in (root / top).rglob("*.py")
        }
        sources = {name: path.read_text() for name, path in paths.items()}
        trees = {name: ast.parse(source) for name, source in sources.items()}
        return cls(
            {name: frozenset(_imported(tree, paths.keys())) - {name} for name, tree in trees.items()},
            {name: len(source.splitlines()) for name, source in sources.items()},
            {name: tuple(_function_lengths(tree)) for name, tree in trees.items()},
        )

    def below(self, package: str) -> list[str]:
        """The modules of a package and of its packages."""
        return [name for name in self.imports if name == package or name.startswith(f"{package}.")]

    def siblings(self, package: str) -> Graph:
        """The entries of a package (modules and packages, without `__init__`), and which of the others each imports."""
        found: dict[str, set[str]] = {}
        for name in self.below(package):
            own = _entry(name, package)
            if own is None:
                continue
            others = {_entry(target, package) for target in self.imports[name]}
            found.setdefault(own, set()).update(other for other in others if other not in (None, own))
        return {name: frozenset(others) for name, others in found.items()}


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.Module, known: Iterable[str]) -> Iterable[str]:
    names = set(known)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in names:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in names else node.module


def _function_lengths(tree: ast.Module) -> Iterable[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def _entry(module: str, package: str) -> str | None:
    if not module.startswith(f"{package}."):
        return None
    return module.removeprefix(f"{package}.").split(".")[0]


def circles(graph: Graph) -> list[tuple[str, ...]]:
    """Groups of entries that import each other, directly or over others."""
    reachable = {name: _reachable(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in reachable[name] if name in reachable[other])) for name in graph}
    return sorted(group for group in groups if group)


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph[name])
    return found


def levels(graph: Graph) -> int:
    """Entries on the longest chain of imports; a circle counts as one."""
    group_of = {name: group for group in circles(graph) for name in group}
    merged: dict[object, set[object]] = {}
    for name, others in graph.items():
        own: object = group_of.get(name, name)
        merged.setdefault(own, set()).update(group_of.get(other, other) for other in others)
    depth: dict[object, int] = {}
    for node in _ordered({node: others - {node} for node, others in merged.items()}):
        depth[node] = 1 + max((depth[other] for other in merged[node] - {node}), default=0)
    return max(depth.values(), default=0)


def _ordered(graph: Mapping[object, set[object]]) -> list[object]:
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:  # circles were merged before
        raise AssertionError(error.args) from error


def packages(modules: Modules) -> list[str]:
    """Every package, by its dotted name."""
    return sorted({name.rpartition(".")[0] for name in modules.imports if "." in name})


def all_circles(modules: Modules) -> list[str]:
    """Every circle among siblings, with its package."""
    return [
        f"{package}: {' <-> '.join(group)}"
        for package in packages(modules)
        for group in circles(modules.siblings(package))
    ]


def describe(modules: Modules) -> str:
    """The figures as text."""
    rows = []
    for path in PACKAGES:
        package = path.replace("/", ".")
        siblings = modules.siblings(package)
        names = modules.below(package)
        files = median(modules.lines[name] for name in names)
        functions = median(length for name in names for length in modules.functions[name])
        rows.append(
            f"{path}: {len(siblings)} entries, {levels(siblings)} levels, {len(circles(siblings))} circles; "
            f"{len(names)} files, {sum(modules.lines[name] for name in names)} lines; "
            f"median of a file {files:.0f} lines, of a function {functions:.0f}"
        )
    found = all_circles(modules)
    return "\n".join(
        [*rows, f"circles among siblings, app and workers: {len(found)}", *(f"  {each}" for each in found)]
    )


def at_revision(revision: str) -> Modules:
    """The modules as they were committed."""
    packed = subprocess.run(["git", "archive", revision, "app", "workers"], capture_output=True, check=True, cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
        return Modules.of(Path(folder))


def main(revisions: list[str]) -> None:
    """Print the figures of each revision, or of the working tree."""
    for revision in revisions:
        print(f"{revision}\n{describe(at_revision(revision))}\n")
    if not revisions:
        print(describe(Modules.of(ROOT)))


if __name__ == "__main__":
    main(sys.argv[1:])
