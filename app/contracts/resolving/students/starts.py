"""Networks given by a model or a teacher become networks of its family, which start from its weights."""

from collections.abc import Mapping
from math import prod
from typing import Any, TypeVar, cast

from app.contracts.layouts.starting_tensors import CUT_FAMILIES, blocks_of
from app.contracts.resolving.data.inputs import shapes_of, student_inputs
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.multitask.relations import trunks_are_open
from app.contracts.resolving.students.pretrained import differs, is_read_alike, read_input
from app.contracts.resolving.students.widths import with_width
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.specs.architectures import (
    Architecture,
    Convnet,
    HuggingFace,
    LibraryFamily,
    NetworkOfModel,
    NetworkOfTeacher,
    Transformer,
    architecture_of,
    student_of,
)
from app.contracts.specs.families.family import Cut
from app.contracts.specs.families.huggingface_configs import (
    NAMED_BY_LAYERS,
    layers_key,
    positions_key,
    positions_offset,
)
from app.contracts.specs.families.starts import FromTeacher, StandIn
from app.contracts.specs.jobs import AnyTrainingJob, TrainJob

Models = Mapping[str, ModelFacts | None]
_Spec = TypeVar("_Spec", bound=AnyTrainingJob)


def with_start(spec: _Spec, dataset: DatasetFacts | None, models: Models, findings: Findings) -> _Spec:
    """The job with a network of a family where its own is given by a model or a teacher; as it is where that is not
    known yet, or has a problem.
    """
    network = spec.network
    if isinstance(network, NetworkOfModel):
        found = _of_model(spec, network, models, findings)
    elif isinstance(network, NetworkOfTeacher):
        found = _of_teacher(spec, network, models, findings)
    else:
        return _with_pooling(spec, models)
    if found is None:
        return spec
    update: dict[str, object] = {
        "inputs": network.inputs,
        "outputs": network.outputs,
        "input_shape": network.input_shape,
    }
    if network.input_shape is None and _is_read_in(found, network, dataset):
        update["input_shape"] = found.input_shape
    facts = models.get(found.pretrained or "")
    if dataset is not None and facts is not None:
        update["transform"] = _transform(found.model_copy(update=update), facts, dataset)
    made = found.model_copy(update=update)
    return cast(_Spec, spec.model_copy(update={spec.network_field: _for(spec, made)}))


def _transform(network: Architecture, facts: ModelFacts, dataset: DatasetFacts) -> str | None:
    """`pretrained` where rows of the dataset can be read as the model's and would be read otherwise."""
    rows = read_input(network, dataset)
    alike = rows is not None and is_read_alike(network, facts, dataset) and differs(facts, rows)
    return "pretrained" if alike else None


def _with_pooling(spec: _Spec, models: Models) -> _Spec:
    """A convnet that names the model that it starts from, and no pooling, has that model's: the layers behind the
    pooling then have the same shapes.
    """
    network = spec.network
    facts = models.get(network.pretrained or "")
    theirs = facts.architecture if facts is not None else None
    if not isinstance(network, Convnet) or network.pooling is not None or not isinstance(theirs, Convnet):
        return spec
    made = network.model_copy(update={"pooling": theirs.pooling or "average"})
    return cast(_Spec, spec.model_copy(update={spec.network_field: made}))


def by_posted_field(findings: Findings, spec: AnyTrainingJob) -> None:
    """Let problems point to what the spec has, and name a way out there: a network that is given by a model or a
    teacher has no other fields than these and its rows. `spec` is the job as posted.
    """
    network, field = spec.network, f"/{spec.network_field}"
    if not isinstance(network, StandIn):
        return
    of_rows = {f"{field}/{name}" for name in ("inputs", "outputs", "input_shape")}
    is_model = isinstance(network, NetworkOfModel)
    posted = f"{field}/model" if is_model else f"{field}/from_teacher"
    way_out = (
        f" (of the network that `{'model' if is_model else 'from_teacher'}` gives: name another, or give a `family`)"
    )
    for i, problem in enumerate(findings.problems):
        inside = problem.pointer.startswith(f"{field}/") and not problem.pointer.startswith((posted, *of_rows))
        if inside:
            findings.problems[i] = problem.model_copy(update={"pointer": posted, "detail": problem.detail + way_out})


def _for(spec: AnyTrainingJob, network: Architecture) -> Architecture:
    bare = network.model_copy(update={"inputs": None})
    made = architecture_of(bare) if isinstance(spec, TrainJob) else student_of(bare)
    return made.model_copy(update={"inputs": network.inputs})


def _is_read_in(model: Architecture, network: StandIn, dataset: DatasetFacts | None) -> bool:
    """Whether rows of the dataset can be read in the model's shape. The rows of libraries' networks may have others."""
    if dataset is None or model.input_shape is None or isinstance(model, LibraryFamily):
        return False
    _, rows, problem = student_inputs(network.inputs, shapes_of(dataset))
    return problem is None and prod(rows) == prod(model.input_shape)


def _of_model(spec: AnyTrainingJob, network: NetworkOfModel, models: Models, findings: Findings) -> Architecture | None:
    facts = models.get(network.model)
    if facts is None:
        findings.unknown()
        return None
    place = f"/{spec.network_field}/model"
    if facts.architecture is None:
        findings.problem(
            place,
            "graph_as_student",
            "expected a model of a family, found a graph (ONNX), whose weights have no network to be trained in: name "
            "a model of a family, or upload its weights as safetensors with their `architecture`",
        )
        return None
    if trunks_are_open(spec):
        findings.problem(
            place,
            "sharing_undefined",
            "a relation that is estimated or searched decides the number of trunks, and the model has those that it "
            "has: apply the relation by `rows`, or give the student a family",
        )
        return None
    because = "that of the model, from whose weights student and control start"
    findings.choose(f"/{spec.network_field}/family", facts.architecture.family, because)
    return _begun(facts.architecture, network.model)


def _begun(model: Architecture, identity: str) -> Architecture:
    """A model's architecture without its inputs and outputs, which starts from its weights."""
    update: dict[str, Any] = {"pretrained": identity, "cut": None, "transform": None}
    if isinstance(model, LibraryFamily):
        update["measured"] = None
    if isinstance(model, HuggingFace):
        update |= {"tokenizer": None, "config": _with_positions(model)}
    if isinstance(model, Convnet):
        update["maps"] = None  # those of the tasks, as their outputs are
    return model.model_copy(update=update)


def _with_positions(model: HuggingFace) -> Mapping[str, Any]:
    """The configuration with the number of positions that the model's rows gave it."""
    key, padding = positions_key(model.name), model.config.get("pad_token_id")
    if model.reads != "tokens" or key in model.config or model.input_shape is None or type(padding) is not int:
        return model.config
    if "rope_parameters" in model.config:
        return model.config
    return {**model.config, key: model.input_shape[0] + positions_offset(model.name, padding)}


def _of_teacher(
    spec: AnyTrainingJob, network: NetworkOfTeacher, models: Models, findings: Findings
) -> Architecture | None:
    wanted, place = network.from_teacher, "/student/from_teacher"
    refs = [ref for _, ref in spec.teacher_refs()]
    if wanted.teacher >= len(refs):
        findings.problem(
            f"{place}/teacher",
            "unknown_teacher",
            f"expected a number below the {len(refs)} teachers of the job, found {wanted.teacher}: correct it",
        )
        return None
    identity = refs[wanted.teacher].model or refs[wanted.teacher].job
    if identity is None:
        findings.problem(
            f"{place}/teacher",
            "no_layers",
            "expected a teacher that is a model or a job, found one of stored outputs, which has no layers: name "
            "another teacher",
        )
        return None
    facts = models.get(identity)
    if facts is None:
        findings.unknown()
        return None
    return _part(facts.architecture, identity, wanted, findings, place)


def _part(
    teacher: Architecture | None, identity: str, wanted: FromTeacher, findings: Findings, place: str
) -> Architecture | None:
    """The part of the teacher's network that is wanted, or None and a problem."""
    blocks = blocks_of(teacher) if teacher is not None else "a graph (ONNX)"
    if teacher is None or isinstance(blocks, str):
        findings.problem(
            f"{place}/teacher",
            "cut_undefined",
            f"expected a teacher with a list of blocks of equal form ({CUT_FAMILIES}), found {blocks}: give the "
            "student a smaller network of the same family, with `init.layers` where Stillhouse builds it",
        )
        return None
    layers = wanted.layers or evenly_spaced(blocks.count)
    if not _are_blocks(layers, blocks.count, findings, f"{place}/layers"):
        return None
    if wanted.layers is None:
        shown = {"layers": list(layers)}
        findings.choose(f"{place}/layers", shown, "half of the teacher's blocks, evenly spaced from first to last")
    made = _with_blocks(_begun(teacher, identity), len(layers))
    if wanted.width is not None:
        narrowed = with_width(made, wanted.width, findings, f"{place}/width")
        if narrowed is None:
            return None
        made, is_narrower = narrowed, narrowed != made
    else:
        is_narrower = False
    if len(layers) == blocks.count and not is_narrower:
        findings.warn(
            "student_as_large",
            f"the student has all {blocks.count} blocks of its teacher, in their full width: name fewer by `layers`",
        )
    return made.model_copy(update={"cut": Cut(layers=layers, sliced=is_narrower)})


def evenly_spaced(count: int) -> tuple[int, ...]:
    """Half of `count` blocks (rounded up), evenly spaced from the first to the last, as DistilBERT took them of BERT
    (Sanh et al. 2019): 0, 2, 4, 7, 9 and 11 of 12.
    """
    wanted = (count + 1) // 2
    return tuple(round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted))


def _are_blocks(layers: tuple[int, ...], count: int, findings: Findings, place: str) -> bool:
    """Whether these are blocks of a teacher with `count`, each once and in ascending order; else there is a problem."""
    for i, layer in enumerate(layers):
        if layer >= count:
            findings.problem(
                f"{place}/{i}",
                "unknown_block",
                f"expected a block of the teacher, 0 to {count - 1}, found {layer}: correct it",
            )
            return False
        if i > 0 and layer <= layers[i - 1]:
            findings.problem(
                f"{place}/{i}",
                "blocks_out_of_order",
                f"expected blocks in ascending order, each once, found {layer} behind {layers[i - 1]}: sort them, and "
                "leave repeated ones out",
            )
            return False
    return True


def _with_blocks(network: Architecture, count: int) -> Architecture:
    """The network with `count` blocks."""
    if isinstance(network, Transformer):
        return network.model_copy(update={"depth": count})
    assert isinstance(network, HuggingFace)
    key = layers_key(network.name)
    assert key is not None
    kept = {name: value for name, value in network.config.items() if name not in NAMED_BY_LAYERS}
    return network.model_copy(update={"config": {**kept, key: count}})
