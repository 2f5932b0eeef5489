"""What was measured of a library's network, put into the networks of a spec."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, assert_never, cast

from app.contracts.layouts.starting_tensors import blocks_of
from app.contracts.problems import Rejection
from app.contracts.resolving.data.inputs import shapes_of, student_inputs
from app.contracts.resolving.data.tagging import answers_tokens
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.students.pretrained import warn_of_inputs
from app.contracts.resolving.students.texts import with_tokens
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.specs.architectures import AnyNetwork, LibraryFamily, MeasuredTrunk
from app.contracts.specs.families.huggingface_configs import BAND_TYPES, SAMPLE_TYPES
from app.contracts.specs.families.library import HuggingFace, LibraryArchitecture, trunk_alone
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TrainJob

Trunks = Mapping[str, MeasuredTrunk | Rejection]
"""What is known of the trunks of libraries, by `trunk_digest`: their measurement, or why there is none."""
Models = Mapping[str, ModelFacts | None]
_Network = TypeVar("_Network", bound=AnyNetwork)
_Spec = TypeVar("_Spec", bound=AnyTrainingJob)


def with_measured(
    spec: _Spec, dataset: DatasetFacts | None, models: Models, trunks: Trunks, findings: Findings
) -> _Spec:
    """The job with the measurements of its networks; those that are missing are listed in `findings.unmeasured`."""
    put = _Measurements(
        dataset,
        models,
        trunks,
        findings,
        rounded=spec.quantization is not None,
        tagging=answers_tokens(spec, dataset),
    )
    update: dict[str, Any]
    match spec:
        case TrainJob():
            update = {"model": put.into(spec.model, "/model")}
        case DistillJob():
            update = {"student": put.into(spec.student, "/student")}
            if spec.mutual is not None:
                peers = enumerate(spec.mutual.peers)
                placed = tuple(put.into(peer, f"/mutual/peers/{i}") for i, peer in peers)
                update["mutual"] = spec.mutual.model_copy(update={"peers": placed})
        case MultitaskJob():
            update = {"student": put.into(spec.student, "/student")}
        case _:
            assert_never(spec)
    return cast(_Spec, spec.model_copy(update=update))


def _weights(trunk: MeasuredTrunk) -> tuple[object, ...]:
    """What the shapes of a trunk's weights depend on."""
    return trunk.parameters, trunk.classifier, sorted(trunk.arguments.items())


def _is_trunk_of(network: LibraryArchitecture, model: LibraryArchitecture, measured: MeasuredTrunk) -> bool:
    """Whether a measured network's trunk can start from that of a model of the same name, or from the part of it that
    `cut` says. The worker compares each tensor before it trains.
    """
    if network.measured is None:
        return False
    if network.cut is None:
        return _weights(measured) == _weights(network.measured)
    blocks = blocks_of(model)
    if isinstance(blocks, str) or max(network.cut.layers) >= blocks.count:
        return False
    of_any_length = network.reads == "tokens" or network.name in SAMPLE_TYPES
    return of_any_length or network.input_shape == model.input_shape


def _rows(network: LibraryArchitecture) -> str:
    """What its rows are, in words."""
    shape = list(network.input_shape or ())
    if network.reads == "tokens":
        return f"rows of {shape[0] if shape else 'any'} tokens"
    if network.name in BAND_TYPES and len(shape) == 3:
        return f"sounds of {shape[1]} mels x {shape[2]} frames"
    return f"{'sounds' if network.name in SAMPLE_TYPES else 'images'} of {shape}"


def _config(network: LibraryArchitecture) -> Mapping[str, Any]:
    return network.config if isinstance(network, HuggingFace) else {}


def _other_rows(network: LibraryArchitecture, model: LibraryArchitecture) -> str:
    """What is wrong with a network of a model's configuration whose rows need weights of other shapes than the model
    has, and how rows of a dataset become such.
    """
    side = "rows of as many tokens"
    if network.reads != "tokens" and network.name in BAND_TYPES:
        side = "`features` of as many `mels`, with `seconds` and `hop` for as many frames"
    elif network.reads != "tokens":
        side = "that size and as many channels"
    return (
        f"expected {_rows(model)}, for which the weights of {model.family}'s `{model.name}` are, found "
        f"{_rows(network)}: give the dataset's input {side}, name a model of such rows, or start from random weights"
    )


def networks_of(spec: AnyTrainingJob) -> tuple[AnyNetwork, ...]:
    """The networks that a job trains: its student's, and those of the student's peers."""
    peers = spec.mutual.peers if isinstance(spec, DistillJob) and spec.mutual is not None else ()
    return (spec.network, *peers)


@dataclass(frozen=True)
class _Measurements:
    dataset: DatasetFacts | None
    models: Models
    trunks: Trunks
    findings: Findings
    rounded: bool
    """Whether networks are trained with rounded weights and inputs."""
    tagging: bool
    """Whether networks answer for each token."""

    def into(self, network: _Network, pointer: str) -> _Network:
        """The network with its measurement, which a request cannot bring along."""
        if network.pretrained is not None and pointer.startswith("/mutual"):
            place = f"{pointer}/pretrained"
            self.findings.problem(place, "not_with_mutual", "peers start from random weights: leave `pretrained` out")
            return network
        if not isinstance(network, LibraryArchitecture):
            return network
        read = with_tokens(network, self.dataset, self.models, self.findings, pointer)
        bare = read.model_copy(update={"measured": None})
        if isinstance(bare, HuggingFace):
            answers = "tokens" if self.tagging else None
            bare = bare.model_copy(update={"answers": answers, "samples": bare.sample_reading or bare.samples})
        shape = self._shape(bare)
        if shape is None:
            return cast(_Network, bare)
        found = self.trunks.get(bare.trunk_digest(shape))
        if found is None:
            self.findings.unmeasured.append(trunk_alone(bare, shape))
            return cast(_Network, bare)
        if isinstance(found, Rejection):
            field = "config" if isinstance(bare, HuggingFace) and bare.config else "name"
            self.findings.problem(f"{pointer}/{field}", found.code, found.message)
            return cast(_Network, bare)
        if getattr(network, "init", None) is not None:
            self.findings.problem(
                f"{pointer}/init",
                "init_undefined",
                "a network of a library cannot start from layers of a teacher: leave `init` out, or use a family that "
                "Stillhouse builds",
            )
        if self.rounded and found.unroundable is not None:
            self.findings.problem(
                "/quantization",
                "quantization_undefined",
                f"expected convolutions and linear layers that compute as torch's, found `{found.unroundable}` of "
                f"{network.family}'s `{network.name}`, which training cannot round: leave `quantization` out, and "
                '`"exports": ["int8"]` quantizes the file after training, or use another network',
            )
        measured = bare.model_copy(update={"measured": found})
        self._check_pretrained(measured.model_copy(update={"input_shape": shape}), pointer)
        return cast(_Network, measured)

    def _check_pretrained(self, network: LibraryArchitecture, pointer: str) -> None:
        """The model that a network starts from must be the same network, for as many channels and as large images where
        that changes its weights.
        """
        if network.pretrained is None or network.measured is None:
            return
        place = f"{pointer}/pretrained"
        facts = self.models.get(network.pretrained)
        if facts is None:
            self.findings.unknown()
            return
        theirs = facts.architecture
        if isinstance(theirs, LibraryFamily) and theirs.measured is not None:
            same = (theirs.family, theirs.name) == (network.family, network.name)
            if same and _is_trunk_of(network, theirs, theirs.measured):
                warn_of_inputs(network, facts, self.dataset, self.findings)
                return
            alike = network.cut is not None or _config(theirs) == _config(network)
            if same and alike and network.input_shape != theirs.input_shape:
                self.findings.problem(place, "pretrained_misfit", _other_rows(network, theirs))
                return
            found = f"{theirs.family}'s `{theirs.name}` for {_rows(theirs)}"
        else:
            found = "a model of another family" if theirs is not None else "a graph"
        self.findings.problem(
            place,
            "pretrained_misfit",
            f"expected a model of {network.family}'s `{network.name}` with the same configuration, for "
            f"{_rows(network)} or others that need no other weights, found {found}: name a model of the same network, "
            "or start from random weights",
        )

    def _shape(self, network: LibraryArchitecture) -> tuple[int, ...] | None:
        """The shape of its rows; None where it is unknown, or invalid: `fitted` reports the problem."""
        if self.dataset is None:
            return None
        if network.reads == "tokens":
            return None if network.input_shape is None or network.misfits(network.input_shape) else network.input_shape
        _, rows, problem = student_inputs(network.inputs, shapes_of(self.dataset))
        shape = network.input_shape or rows
        if problem is not None or network.sides_misfit(shape) is not None or network.misfits(shape):
            return None
        return shape
