"""Tensors of a file that are no part of the network, such as a loss's weights, left out by the manifest's `ignore`."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from app.contracts.problems import UserError, listed


def ignored(names: Iterable[str], ignore: Sequence[str] | None) -> frozenset[str]:
    """Those of the file's names that `ignore` lists, or that begin with one of its prefixes and a dot."""
    entries = {entry.rstrip(".") for entry in ignore or ()}
    return frozenset(name for name in names if entries and not entries.isdisjoint(_prefixes(name)))


def _prefixes(name: str) -> Iterator[str]:
    """The name, and what stands before each of its dots."""
    yield name
    end = name.rfind(".")
    while end > 0:
        yield name[:end]
        end = name.rfind(".", 0, end)


def check_ignored(names: Collection[str], ignore: Sequence[str] | None) -> None:
    """Check that each entry matches a tensor, and that one is left. Raises UserError `bad_ignore`."""
    if not ignore:
        return
    entries = {entry.rstrip(".") for entry in ignore}
    matched = {prefix for name in names for prefix in _prefixes(name) if prefix in entries}
    idle = [entry for entry in ignore if entry.rstrip(".") not in matched]
    if idle:
        raise UserError(
            "bad_ignore",
            f"`ignore` names {listed(idle)}, expected names or prefixes of tensors, the file has {listed(names)}: "
            "correct or leave out these entries",
        )
    if len(ignored(names, ignore)) == len(names):
        raise UserError("bad_ignore", f"`ignore` leaves out every tensor of the file, {listed(names)}: shorten it")


def ignored_notes(left_out: Collection[str]) -> tuple[dict[str, str], ...]:
    """The warning that says what was left out; nothing where nothing was."""
    if not left_out:
        return ()
    return ({"code": "tensors_ignored", "message": f"{listed(sorted(left_out))} were left out, as `ignore` says"},)
