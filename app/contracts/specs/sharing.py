"""How the tasks of one student share its trunk.

A scheme is a name, or an object with its settings. `hard` is one trunk with a head for each task. In the others a
*trunk* is a network of the family without its heads, and heads are `heads.<task>`, also where one task is left.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.contracts.base import Contract, Name

MOST_TENSORS = 20_000
"""Most tensors of a model: as many as an inspection reads."""
Experts = Annotated[int, Field(ge=1, le=32)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]


class HardSharing(Contract):
    """One trunk with a head for each task."""

    method: Literal["hard"]


class CrossStitchSharing(Contract):
    """A trunk for each task; after each stage every trunk continues with a learned mixture of all (Misra 2016).

    Stages are the hidden layers of an mlp, the pooled stages and hidden layers of a convnet, the stages of a resnet and
    the blocks of a transformer. Names: `towers.<task>.<the family's>`, `stitches.<stage>.weight` of [towers, towers],
    whose row i has the weights of tower i's mixture.
    """

    method: Literal["cross_stitch"]
    own: float = Field(
        default=0.9,
        ge=0.0,
        le=1.0,
        description="Initial weight of the own tower in a stitch; the others share the rest.",
    )
    towers: Names | None = Field(
        default=None,
        description="Order of the towers in the stitches: each task of the job once; the job's order when left out.",
    )


class MmoeSharing(Contract):
    """Experts that all tasks share, and a gate for each task that weighs them by the input (Ma 2018).

    Names: `experts.<i>.<the family's>`, and `gates.<task>`, a linear layer of the flat input with a softmax behind it.
    """

    method: Literal["mmoe"]
    experts: Experts = Field(
        default=4, description="Number of experts, each a trunk of the family, which every task's gate weighs."
    )


class CgcSharing(Contract):
    """Experts that all tasks share beside experts of each task, weighed by the task's gate: PLE (Tang 2020) with one
    level of extraction.

    Names: `shared.<i>.<the family's>`, `experts.<task>.<i>.<the family's>`, and `gates.<task>` as in `mmoe`, over the
    shared experts, then the task's own.
    """

    method: Literal["cgc"]
    shared: Experts = Field(default=1, description="Number of experts that every task's gate weighs.")
    own: Experts = Field(default=1, description="Number of further experts of each task, which its gate alone weighs.")


class MtanSharing(Contract):
    """One convolutional trunk; in each stage each task masks its maps by attention of its own (MTAN, Liu 2019).

    For `convnet` and `resnet`. With u the maps behind a stage's first block and p behind its last, a task goes on with
    a * p, where the mask a = sigmoid(conv2(act(conv1([u, f(a' * p')])))) lies in (0, 1) and a' * p' is the same of
    the stage before. Both are 1x1 convolutions of the task; f is a 3x3 convolution that tasks share, followed by
    the trunk's own downsampling. After the last stage each task goes through the trunk's pooling and hidden layers.
    Names: `trunk.<the family's>`, `attentions.<task>.<stage>.{conv1,norm1,conv2,norm2}`, `passages.<stage>` for f into
    a stage, and its normalisation, `attentions.<task>.<stage>.norm`.
    """

    method: Literal["mtan"]


class TrunksSharing(Contract):
    """A trunk for each group of tasks, shared hard inside the group. Names: `trunks.<group>.<the family's>`."""

    method: Literal["trunks"]
    groups: Annotated[tuple[Names, ...], Field(min_length=1, max_length=64)] = Field(
        description="Names of the tasks in each group; every task is in exactly one group."
    )


Scheme = CrossStitchSharing | MmoeSharing | CgcSharing | MtanSharing | TrunksSharing
_Settings = Annotated[
    HardSharing | CrossStitchSharing | MmoeSharing | CgcSharing | MtanSharing | TrunksSharing,
    Field(discriminator="method"),
]


SharingName = Literal["hard", "cross_stitch", "mmoe", "cgc", "mtan"]
"""The schemes that have a default for every setting."""


def _written_as(value: Any) -> str:
    return "settings" if isinstance(value, dict | Contract) else "name"


Sharing = Annotated[
    Annotated[SharingName, Tag("name")] | Annotated[_Settings, Tag("settings")],
    Discriminator(_written_as),
]

_DEFAULTS: dict[SharingName, Scheme | None] = {
    "hard": None,
    "cross_stitch": CrossStitchSharing(method="cross_stitch"),
    "mmoe": MmoeSharing(method="mmoe"),
    "cgc": CgcSharing(method="cgc"),
    "mtan": MtanSharing(method="mtan"),
}


def scheme_of(sharing: Sharing) -> Scheme | None:
    """The scheme with its settings, given as a name or an object; None for `hard`."""
    if isinstance(sharing, HardSharing):
        return None
    return _DEFAULTS[sharing] if isinstance(sharing, str) else sharing


def towers_of(scheme: CrossStitchSharing, outputs: dict[str, int]) -> tuple[str, ...]:
    """The towers in the order of the stitches' rows: alphabetical where `towers` was left out, as JSON has no order."""
    return scheme.towers or tuple(sorted(outputs))


def resolved_sharing(sharing: Sharing, tasks: tuple[str, ...]) -> Sharing:
    """The canonical form of a sharing in a resolved architecture, with every default filled in."""
    scheme = scheme_of(sharing)
    if scheme is None:
        return "hard"
    if isinstance(scheme, CrossStitchSharing) and scheme.towers is None:
        return scheme.model_copy(update={"towers": tasks})
    return scheme
