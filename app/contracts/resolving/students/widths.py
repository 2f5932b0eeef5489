"""Narrower networks: how wide the leading rows and columns of a teacher's tensors are."""

from app.contracts.resolving.findings import Findings
from app.contracts.specs.architectures import Architecture, HuggingFace, Transformer
from app.contracts.specs.families.huggingface_configs import WIDTH_KEYS
from app.contracts.specs.families.starts import CutWidth

_Widths = tuple[int, int, int]
"""Size of the vector of a token, hidden width of a feedforward network, and number of attention heads."""


def with_width(network: Architecture, wanted: CutWidth, findings: Findings, pointer: str) -> Architecture | None:
    """The network as narrow as `wanted`, or None and a problem. Attention heads stay as wide as they are, so that the
    leading rows of queries, keys and values are whole heads.
    """
    found = _widths(network)
    if found is None:
        name = f"`{network.name}`" if isinstance(network, HuggingFace) else f"the family `{network.family}`"
        findings.problem(
            pointer,
            "cut_undefined",
            f"slicing is known for `transformer` and the types {', '.join(f'`{each}`' for each in WIDTH_KEYS)} of "
            f"transformers, found {name}: leave `width` out",
        )
        return None
    hidden, intermediate, heads = found
    size = hidden // heads
    new_hidden = wanted.hidden or (wanted.heads * size if wanted.heads is not None else hidden)
    new_heads = wanted.heads or max(1, new_hidden // size)
    new = new_hidden, wanted.intermediate or intermediate, new_heads
    if new_hidden != new_heads * size:
        findings.problem(
            f"{pointer}/hidden",
            "width_misfit",
            f"expected `hidden` to be {size} for each head, as wide as the teacher's, found {new_hidden} for "
            f"{new_heads} heads: use {_nearest(new_hidden, size, heads)}, and leave `heads` out",
        )
        return None
    for name, ours, theirs in zip(("hidden", "intermediate", "heads"), new, found, strict=True):
        if getattr(wanted, name) is not None and ours > theirs:
            findings.problem(
                f"{pointer}/{name}",
                "width_misfit",
                f"expected at most the teacher's {theirs}, found {ours}: a slice is no wider, choose a smaller number",
            )
            return None
    return _narrowed(network, new)


def _nearest(hidden: int, size: int, heads: int) -> int:
    """The multiple of a head's size next to `hidden`, up to the teacher's."""
    return size * min(heads, max(1, round(hidden / size)))


def _widths(network: Architecture) -> _Widths | None:
    if isinstance(network, Transformer):
        return network.width, network.feedforward_width, network.heads
    keys = WIDTH_KEYS.get(network.name) if isinstance(network, HuggingFace) else None
    return keys.values(network.config) if keys is not None and isinstance(network, HuggingFace) else None


def _narrowed(network: Architecture, widths: _Widths) -> Architecture:
    hidden, intermediate, heads = widths
    if isinstance(network, Transformer):
        return network.model_copy(update={"width": hidden, "feedforward": intermediate, "heads": heads})
    assert isinstance(network, HuggingFace)
    keys = WIDTH_KEYS[network.name]
    config = {**network.config, keys.hidden: hidden, keys.intermediate: intermediate, keys.heads: heads}
    return network.model_copy(update={"config": config})
