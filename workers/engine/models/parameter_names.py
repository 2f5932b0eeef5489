"""The names of a file's tensors as those of an architecture: renamed, without prefixes that all of them share."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.architectures import Architecture
from workers.engine.models.build import file_tensors
from workers.engine.models.ignored import ignored
from workers.engine.models.weight_norm import normed_weights, removal

COMMON_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Prefixes that DataParallel, torch.compile and Lightning put before every name."""
COUNTER = "num_batches_tracked"
_SHOWN = 10
_IGNORED = 3


@dataclass(frozen=True)
class MatchedNames:
    """How the tensors of a file become those of an architecture."""

    names: dict[str, str]
    """The file's names -> ours; parts of a normed weight keep their own suffix."""
    normed: dict[str, tuple[str, str]]
    """Our weights that are stored in two parts -> the parts' names (magnitude, direction), renamed."""
    zero: tuple[str, ...]
    """Our biases that the file lacks and that are zero."""
    dropped: str
    """The prefix that was left out of all names that had it."""
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def doubled(self) -> list[str]:
        """Names that several of the file's became."""
        return sorted(ours for ours, count in Counter(self.names.values()).items() if count > 1)

    @property
    def mismatches(self) -> int:
        """How many names do not fit; 0 for a file that fits."""
        return len(self.missing) + len(self.unexpected) + len(self.doubled)


def renamed(name: str, rename: Mapping[str, str]) -> str:
    """A file's parameter name as ours: the longest prefix of `rename` that ends at a dot (or the end) is replaced.

    A prefix that becomes nothing is left out with its dot, and the rest is renamed again.
    """
    end = len(name)
    while end > 0:
        ours = rename.get(name[:end])
        if ours:
            return ours + name[end:]
        if ours == "" and end < len(name):
            return renamed(name[end + 1 :], rename)
        end = name.rfind(".", 0, end)
    return name


def matched(names: Collection[str], manifest: ModelManifest, architecture: Architecture) -> MatchedNames:
    """The names as the manifest renames them, without those that it ignores; a dot at the end of a prefix does not
    matter.

    Where they do not fit as they are, prefixes of `COMMON_PREFIXES` that all of them share are left out, as far as it
    helps; else those that some of them have.
    """
    left_out = ignored(names, manifest.ignore)
    names = [name for name in names if name not in left_out]
    rename = {theirs.rstrip("."): ours.rstrip(".") for theirs, ours in manifest.rename.items()}
    zero_biases = manifest.missing_biases == "zero"
    expected = list(file_tensors(architecture).shapes)

    def variants(prefixes: Iterable[str]) -> list[MatchedNames]:
        return [_without_prefix(names, prefix, rename, expected, zero_biases) for prefix in prefixes]

    best = min(variants(_prefixes(names, all)), key=lambda each: each.mismatches)  # the first of equals
    if best.mismatches == 0:
        return best
    return min([best, *variants(_prefixes(names, any))], key=lambda each: each.mismatches)


def _prefixes(names: Collection[str], of: Callable[[Iterable[bool]], bool]) -> list[str]:
    """Nothing, and the prefixes that all or any of the names have, each longer than the one before."""
    rest, prefixes = list(names), [""]
    while rest:
        prefix = max(COMMON_PREFIXES, key=lambda each: sum(name.startswith(each) for name in rest))
        if not of(name.startswith(prefix) for name in rest):
            break
        prefixes.append(prefixes[-1] + prefix)
        rest = [name.removeprefix(prefix) for name in rest if name.startswith(prefix)]
    return prefixes


def _without_prefix(
    names: Iterable[str], dropped: str, rename: Mapping[str, str], expected: Sequence[str], zero_biases: bool
) -> MatchedNames:
    ours = {name: renamed(name.removeprefix(dropped), rename) for name in names}
    # Networks of libraries may have the parts themselves, which then are their parameters.
    folds = normed_weights(list(ours.values())).items()
    normed = {weight: pair for weight, pair in folds if not set(pair) <= set(expected)}
    parts = {part for pair in normed.values() for part in pair}
    have = (set(ours.values()) - parts) | set(normed)
    missing = [name for name in expected if name not in have and not name.endswith(COUNTER)]
    zero = [name for name in missing if zero_biases and _is_lone_bias(name, have)]
    return MatchedNames(
        names=ours,
        normed=normed,
        zero=tuple(zero),
        dropped=dropped,
        missing=tuple(name for name in missing if name not in zero),
        unexpected=tuple(sorted(have - set(expected))),
    )


def _is_lone_bias(name: str, have: Collection[str]) -> bool:
    """Whether the name is the bias of a layer whose weight is there."""
    return name.endswith(".bias") and name.removesuffix("bias") + "weight" in have


def check_names(found: MatchedNames) -> None:
    """Raises UserError `bad_rename`, `missing_parameters` or `unexpected_parameters`."""
    if found.doubled:
        raise UserError(
            "bad_rename",
            f"`rename` maps several parameters of the file to {listed(found.doubled, most=_SHOWN)}: give each its own",
        )
    if not found.missing and not found.unexpected:
        return
    parts = [f"missing: {listed(found.missing, most=_SHOWN)}"] if found.missing else []
    parts += [f"unexpected: {listed(found.unexpected, most=_SHOWN)}"] if found.unexpected else []
    code = "missing_parameters" if found.missing else "unexpected_parameters"
    raise UserError(code, f"the file does not fit the architecture: {'; '.join(parts)}{_way_out(found)}")


def _way_out(found: MatchedNames) -> str:
    have = set(found.names.values()) | set(found.normed)
    if found.missing and not found.unexpected and all(_is_lone_bias(name, have) for name in found.missing):
        return '; if these layers were made with `bias=False`, set `"missing_biases": "zero"` in the manifest'
    if not found.unexpected:
        return "; make `architecture` say what the file holds"
    call = removal(found.unexpected)
    if call is not None:
        return f"; these weights are computed from others: call `{call}` before `model.state_dict()`, and save again"
    surplus = {part for weight, pair in found.normed.items() if weight in found.unexpected for part in pair}
    surplus |= set(found.unexpected)
    theirs = sorted(name for name, ours in found.names.items() if ours in surplus)
    leave_out = (
        f'leave out what is no part of the network by `"ignore": {json.dumps(theirs[:_IGNORED])}` in the manifest '
        "(names or prefixes of the file)"
    )
    if found.missing:
        return (
            "; if these are the same layers under other names, map the file's prefixes to ours in the manifest's "
            f'`rename` (`"prefix.": ""` drops one), and {leave_out}'
        )
    return f"; make `architecture` say what the file holds, or {leave_out}"
