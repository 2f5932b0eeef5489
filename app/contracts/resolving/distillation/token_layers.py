"""Layers with a vector for each token: which may be compared token by token, and which are pooled first."""

from app.contracts.base import Shape
from app.contracts.layouts.summary import layers_of
from app.contracts.resolving.distillation.layer_owners import LayerOwner, is_by_token, pooled_shape
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.multitask.sharing import own_layer
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.inputs.texts import reads_same_tokens
from app.contracts.specs.distillation import DistillationSpec, FeatureTerm
from app.contracts.specs.families.layer_pairs import LayerPair, LayerPooling

Sides = tuple[tuple[LayerOwner, Shape], tuple[LayerOwner, Shape]]
"""The student and its layer, the teacher and its layer."""
_POOLED = ("any", "same_kind")
"""Shapes of layers of the terms that compare pooled vectors too."""


def compared_shapes(
    term: FeatureTerm, pair: LayerPair, sides: Sides, findings: Findings, place: str
) -> tuple[Shape, Shape] | None:
    """What a term compares of two layers, of the student and of the teacher; None where these do not go together."""
    (ours, shape), (theirs, taught) = sides
    if pair.pool is not None and term.layer_shapes not in _POOLED:
        detail = f"`{term.method}` compares layers as they are, and no pooled ones: leave it out, or use `fitnets`"
        findings.problem(f"{place}/pool", "shape_mismatch", detail)
        return None
    if pair.pool is not None:
        return _pooled(pair.pool, sides, findings, f"{place}/pool")
    if not ours.is_by_token(shape) and not theirs.is_by_token(taught):
        return shape, taught
    if term.layer_shapes not in ("tokens", "same_kind"):
        owner = ours if ours.is_by_token(shape) else theirs
        detail = f"`{term.method}` compares one vector a row, and this layer of the {owner.side} has one for each token"
        findings.problem(f"{place}/{owner.side}_layer", "shape_mismatch", f"{detail} of a text: {_way_out(term)}")
        return None
    if not (ours.is_by_token(shape) and theirs.is_by_token(taught)):
        findings.problem(
            f"{place}/teacher_layer",
            "shape_mismatch",
            f"expected two layers with a vector for each token of a text, or two without, found {list(shape)} of the "
            f"student and {list(taught)} of the teacher: {_way_out(term)}",
        )
        return None
    if not _reads_alike(term, ours, theirs, findings, f"{place}/teacher_layer"):
        return None
    return shape, (shape[0], *taught[1:])


def _way_out(term: FeatureTerm) -> str:
    pooled = "`pool`" if term.layer_shapes in _POOLED else "`fitnets` with `pool`"
    return f"compare one vector a row by {pooled}, use `penultimate`, or the outputs by `soft_targets`"


def _reads_alike(term: FeatureTerm, ours: LayerOwner, theirs: LayerOwner, findings: Findings, place: str) -> bool:
    """Whether the teacher can read the student's rows. Networks whose tokenizers are not known yet pass."""
    if ours.tokens is None or theirs.tokens is None:
        findings.unknown()
        return True
    if not reads_same_tokens(ours.tokens, theirs.tokens):
        findings.problem(
            place,
            "tokens_differ",
            "layers are compared token by token where teacher and student read the same tokens, and these read by "
            f"other tokenizers: give the student the teacher's by `tokenizer`, or {_way_out(term)}",
        )
        return False
    if theirs.longest_row < ours.longest_row:
        findings.problem(
            place,
            "tokens_differ",
            f"the teacher reads rows of up to {theirs.longest_row} tokens, and the student's have {ours.longest_row}: "
            "give the dataset's input a smaller `length`",
        )
        return False
    return True


def _pooled(pool: LayerPooling, sides: Sides, findings: Findings, place: str) -> tuple[Shape, Shape] | None:
    if all(len(shape) == 1 for _, shape in sides):
        detail = "both layers have one vector a row already, and there is nothing to pool: leave it out"
        findings.problem(place, "shape_mismatch", detail)
        return None
    for owner, shape in sides:
        wrong = _not_poolable(pool, owner, shape)
        if wrong is not None:
            detail = f"this layer of the {owner.side} of shape {list(shape)} {wrong}: use another layer"
            findings.problem(place, "shape_mismatch", detail)
            return None
    (_, ours), (_, theirs) = sides
    return pooled_shape(ours), pooled_shape(theirs)


def _not_poolable(pool: LayerPooling, owner: LayerOwner, shape: Shape) -> str | None:
    """Why a layer has no such vector."""
    if len(shape) == 1:
        return None
    if owner.architecture is None:
        return "is one of a graph, which does not say where its tokens or channels are"
    if owner.is_series(shape) or len(shape) > 3:
        return "is neither [tokens, width] nor maps [channels, height, width]"
    if len(shape) == 3 and pool == "first":
        return "is a map, which has no first token (`mean` is that over its places)"
    if len(shape) == 3 and shape[0] == shape[1] != shape[2]:
        return "has its channels last, and maps are [channels, height, width]"
    return None


def reads_rows_of_student(distillation: DistillationSpec, teacher: int, output: str | None, facts: ModelFacts) -> bool:
    """Whether some term compares a teacher's layer token by token, so that it has to read the rows of the student."""
    architecture = facts.architecture
    if architecture is None:
        return False
    shapes = layers_of(facts)
    for term in distillation.features or ():
        for pair in term.pairs.values():
            name = own_layer(architecture, output, pair.teacher_layer) if output is not None else pair.teacher_layer
            shape = shapes.get(name)
            if term.teacher == teacher and pair.pool is None and shape is not None and is_by_token(architecture, shape):
                return True
    return False
