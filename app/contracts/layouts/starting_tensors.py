"""Which tensor of a pretrained model each tensor of a network starts from, by names and without weights."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.families.huggingface_configs import by_place, layers_key
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.families.transformer import Transformer
from app.contracts.specs.sharing import scheme_of

_BLOCK = re.compile(r"(.+)\.(\d+)")
CUT_FAMILIES = "`transformer`, and `huggingface` of types such as `bert`, `distilbert`, `roberta`, `vit` and `dinov2`"
"""Whose networks can be cut, for messages."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a trunk, which have equal form: `<prefix>.<i>` for i below `count`."""

    prefix: str
    count: int

    def source(self, name: str, layers: tuple[int, ...]) -> str:
        """The name of a tensor in the model, of which `layers` are the network's blocks; `?` stands for the number of a
        block that is not among them.
        """
        number, dot, rest = name.removeprefix(f"{self.prefix}.").partition(".")
        if not name.startswith(f"{self.prefix}.") or not dot or not number.isdigit():
            return name
        source = layers[int(number)] if int(number) < len(layers) else "?"
        return f"{self.prefix}.{source}.{rest}"


def blocks_of(model: Architecture) -> Blocks | str:
    """The blocks of a model's network, or why it has none that can be taken out."""
    if scheme_of(model.sharing) is not None:
        return "a network whose tasks share by a scheme"
    if isinstance(model, Transformer):
        return Blocks("blocks", model.depth)
    if not isinstance(model, HuggingFace):
        return f"a network of the family `{model.family}`"
    key = layers_key(model.name)
    if key is None:
        return f"`{model.name}` of transformers, whose blocks are not known to be of equal form"
    reason = by_place(model.config)
    if reason is not None:
        return f"`{model.name}` with `{reason}`, whose blocks depend on their place"
    found = _listed_blocks(model)
    given = model.config.get(key)
    if found is None or given not in (None, found.count):
        return f"`{model.name}` whose blocks were not measured as one list"
    return found


def _listed_blocks(model: HuggingFace) -> Blocks | None:
    """The only list of measured blocks that is in no other block; None where there are several or none."""
    layers = model.measured.layers if model.measured is not None else ()
    names = [layer.name for layer in layers if layer.kind == "block"]
    outer = [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
    found = [match for name in outer if (match := _BLOCK.fullmatch(name)) is not None]
    prefixes = {match[1] for match in found}
    numbers = sorted(int(match[2]) for match in found)
    if len(prefixes) != 1 or numbers != list(range(len(numbers))):
        return None
    return Blocks(prefixes.pop(), len(numbers))


def head_names(architecture: Architecture) -> dict[str, str]:
    """Prefix of the names of each output's head, of a described network."""
    outputs = dict(architecture.outputs or {})
    if len(outputs) == 1 and scheme_of(architecture.sharing) is None:
        return {output: architecture.trunk().head_name for output in outputs}
    return {output: f"heads.{output}" for output in outputs}


def kept_heads(
    ours: Architecture,
    theirs: Architecture,
    our_classes: Mapping[str, tuple[str, ...] | None],
    their_classes: Mapping[str, tuple[str, ...] | None],
) -> tuple[str, ...]:
    """Outputs whose heads start from the model's: of equal names and sizes, both of maps or neither, and of equal
    classes where both name them. Classes are by output.
    """
    sizes, known = dict(ours.outputs or {}), dict(theirs.outputs or {})
    return tuple(
        output
        for output, size in sizes.items()
        if known.get(output) == size
        and (output in ours.map_shapes) == (output in theirs.map_shapes)
        and (our_classes.get(output) or their_classes.get(output))
        == (their_classes.get(output) or our_classes.get(output))
    )


def source_names(
    ours: Architecture, theirs: Architecture, names: Iterable[str], kept: Collection[str]
) -> dict[str, str]:
    """Names of tensors of `ours` -> the tensors of the pretrained model `theirs` that they start from. Left out are
    those of heads of outputs that are not in `kept`. `names`: of all tensors of `ours`.
    """
    heads = {prefix: output for output, prefix in head_names(ours).items()}
    of_model = head_names(theirs)
    layers = ours.cut.layers if ours.cut is not None else ()
    blocks = blocks_of(theirs) if layers else None
    sources = {}
    for name in names:
        prefix, _, last = name.rpartition(".")
        output = heads.get(prefix)
        if output is None:
            sources[name] = blocks.source(name, layers) if isinstance(blocks, Blocks) else name
        elif output in kept:
            sources[name] = f"{of_model[output]}.{last}"
    return sources
