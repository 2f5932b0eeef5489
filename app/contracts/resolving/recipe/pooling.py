"""How a convnet pools where its spec leaves it out."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from app.contracts.layouts.summary import parameter_count
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.specs.architectures import Architecture, Convnet, Student

LARGE = 100_000
"""Parameters up to which `flatten` is always chosen."""
MOST_GROWTH = 10
"""How many times the parameters with `average` those with `flatten` may be, in a network above LARGE."""

_Network = TypeVar("_Network", bound=Architecture)


def with_pooling(
    arch: _Network, shape: tuple[int, ...], outputs: Mapping[str, int], findings: Findings, pointer: str
) -> _Network:
    """The architecture with its pooling chosen; one that has none, names it, or has maps alone, as it
    is. `shape`: one row's.
    """
    if not isinstance(arch, Convnet) or arch.pooling is not None or outputs.keys() == arch.map_shapes.keys():
        return arch
    fitted = arch.model_copy(update={"input_shape": shape, "outputs": outputs, "sharing": "hard"})
    average, flat = (
        parameter_count(fitted.model_copy(update={"pooling": pooling})) for pooling in ("average", "flatten")
    )
    if flat > LARGE and flat > MOST_GROWTH * average:
        pooling, because = "average", f"`flatten` would make {flat:,} parameters of {average:,}"
    else:
        pooling, because = "flatten", "keeps where in the row a feature was found: 2 points better than `average`"
    findings.choose(f"{pointer}/pooling", pooling, because)
    return arch.model_copy(update={"pooling": pooling})


def with_pooling_of_teacher(
    student: Student, teachers: Sequence[ModelFacts | OutputFacts | None], findings: Findings
) -> Student:
    """A convnet that starts from layers of a convnet, with that one's pooling where it names none: then the layers
    behind the pooling have the same shapes.
    """
    if not isinstance(student, Convnet) or student.pooling is not None or student.init is None:
        return student
    source = teachers[student.init.teacher] if student.init.teacher < len(teachers) else None
    network = source.architecture if isinstance(source, ModelFacts) else None
    if not isinstance(network, Convnet):
        return student
    pooling = network.pooling or "average"
    findings.choose("/student/pooling", pooling, "that of the teacher that the student starts from")
    return student.model_copy(update={"pooling": pooling})
