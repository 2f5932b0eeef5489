"""Assembles the report of a job from what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.contracts.problems import Chosen
from app.contracts.reports.baselines import BaselineReport
from app.contracts.reports.quantized import QuantizationMethod, QuantizedCandidate
from app.contracts.reports.relation import RelationReport
from app.contracts.reports.report import (
    Compression,
    DatasetUse,
    Environment,
    Latency,
    OnnxCheck,
    Party,
    PerClass,
    QuantizedParty,
    ReliabilityBin,
    Report,
    Robustness,
    RuntimeCost,
    RuntimeName,
    TargetUse,
)
from app.contracts.reports.search import SearchReport
from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec
from app.contracts.specs.jobs import AnyTrainingJob
from app.contracts.specs.quantization import QuantizedFormat
from workers.engine.evaluation.evaluate import Evaluation
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.quantized import QuantizedEvaluation


@dataclass(frozen=True)
class Cost:
    """The cost of a network; None where unknown (FLOPs of an ONNX graph, everything for a teacher given as columns)."""

    parameters: int | None = None
    bytes: int | None = None
    flops: int | None = None
    latency: Mapping[str, Latency] = field(default_factory=dict)
    runtime: Mapping[RuntimeName, RuntimeCost] = field(default_factory=dict)
    """By runtime, where it was measured."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each file of a student by format."""


@dataclass(frozen=True)
class TeacherPart:
    """A teacher, once for all tasks that it teaches; `key` is that of its `TaskTeacher` entries."""

    key: str
    name: str
    cost: Cost = field(default_factory=Cost)
    model: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class LearnerPart:
    """Student or control."""

    cost: Cost
    seed: int | None = None
    epoch: int | None = None
    steps: int | None = None
    cached: bool = False
    digest: str | None = None


@dataclass(frozen=True)
class QuantizedPart:
    """A quantized file of the student; `ratio` is its size relative to the ONNX file in float32."""

    party: str
    format: QuantizedFormat
    method: QuantizationMethod
    bytes: int
    digest: str
    ratio: float
    candidates: tuple[QuantizedCandidate, ...]
    runtime: Mapping[RuntimeName, RuntimeCost] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportParts:
    """The parts of a report; field names as in `app.contracts.reports.report.Report`."""

    spec: AnyTrainingJob
    tasks: Sequence[EvaluatedTask]
    evaluation: Evaluation
    student: LearnerPart
    environment: Environment
    control: LearnerPart | None = None
    teachers: Sequence[TeacherPart] = ()
    datasets: Sequence[DatasetUse] = ()
    targets: Sequence[TargetUse] = ()
    relation: RelationReport | None = None
    quantized: Sequence[QuantizedPart] = ()
    baselines: BaselineReport | None = None
    seeds: Mapping[str, tuple[dict[str, float | None], ...]] = field(default_factory=dict)
    search: SearchReport | None = None
    class_weights: Mapping[str, dict[str, float]] = field(default_factory=dict)
    per_class: Mapping[str, tuple[PerClass, ...]] = field(default_factory=dict)
    robustness: Mapping[str, tuple[Robustness, ...]] = field(default_factory=dict)
    reliability: Mapping[str, dict[str, tuple[ReliabilityBin, ...]]] = field(default_factory=dict)
    export: Mapping[str, OnnxCheck] = field(default_factory=dict)
    warnings: Sequence[dict[str, str]] = ()
    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    not_measured: Mapping[str, str] = field(default_factory=dict)
    micro_batch_size: int | None = None
    exact_accumulation: bool = True
    bit_exact: bool = True
    attempts: int = 1
    digests: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def build_report(parts: ReportParts) -> Report:
    """The report of a finished job; one `teachers` entry for each teacher of each task, in the spec's order."""
    evaluation = parts.evaluation
    quantized = {
        part.party: quantized_party(part, evaluation.quantized.get(part.party, QuantizedEvaluation()), parts.student)
        for part in parts.quantized
    }
    return Report(
        kind=parts.spec.kind,
        teachers=_teachers(parts),
        student=_learner("student", parts.student, evaluation.student),
        control=_learner("control", parts.control, evaluation.control) if parts.control is not None else None,
        quantized=quantized,
        fidelity=evaluation.fidelity,
        compression=compression([part.cost for part in parts.teachers], parts.student.cost),
        verdict=evaluation.verdict,
        datasets=tuple(parts.datasets),
        targets=tuple(parts.targets),
        relation=parts.relation,
        baselines=parts.baselines,
        seeds=dict(parts.seeds),
        search=parts.search,
        class_weights=dict(parts.class_weights),
        per_class=dict(parts.per_class),
        robustness=dict(parts.robustness),
        reliability=dict(parts.reliability),
        export=dict(parts.export),
        warnings=tuple(parts.warnings),
        chosen=dict(parts.chosen),
        not_measured={**evaluation.not_measured, **parts.not_measured},
        micro_batch_size=parts.micro_batch_size,
        exact_accumulation=parts.exact_accumulation,
        bit_exact=parts.bit_exact,
        attempts=parts.attempts,
        environment=parts.environment,
        digests=dict(parts.digests),
        seconds=dict(parts.seconds),
        spec=parts.spec.model_dump(mode="json"),
    )


def quantized_party(part: QuantizedPart, measured: QuantizedEvaluation, student: LearnerPart) -> QuantizedParty:
    """A quantized file of a student as the report has it."""
    return QuantizedParty(
        name=part.party,
        parameters=student.cost.parameters,
        flops=student.cost.flops,
        bytes=part.bytes,
        runtime=dict(part.runtime),
        tasks=measured.tasks,
        seed=student.seed,
        epoch=student.epoch,
        steps=student.steps,
        digest=part.digest,
        format=part.format,
        method=part.method,
        ratio=part.ratio,
        fidelity=measured.fidelity,
        simulated=measured.simulated,
        verdict=measured.verdict,
        candidates=part.candidates,
    )


def compression(teachers: Sequence[Cost], student: Cost) -> Compression | None:
    """Ratios of the teachers' sums to the student; None without teachers, a ratio None if a side is unknown or 0."""
    if not teachers:
        return None
    sizes = [size for size in student.latency if all(size in teacher.latency for teacher in teachers)]
    latency = {
        size: sum(teacher.latency[size].median_ms for teacher in teachers) / student.latency[size].median_ms
        for size in sizes
        if student.latency[size].median_ms > 0.0
    }
    sizes_of_teachers = [teacher.bytes for teacher in teachers]
    return Compression(
        parameters=_ratio([teacher.parameters for teacher in teachers], student.parameters),
        bytes=_ratio(sizes_of_teachers, student.bytes),
        flops=_ratio([teacher.flops for teacher in teachers], student.flops),
        latency=latency,
        files={name: ratio for name, size in student.files.items() if (ratio := _ratio(sizes_of_teachers, size))},
    )


def _ratio(teachers: Sequence[int | None], student: int | None) -> float | None:
    known = [count for count in teachers if count is not None]
    if len(known) < len(teachers) or not student:
        return None
    return sum(known) / student


def _teachers(parts: ReportParts) -> tuple[Party, ...]:
    by_key = {part.key: part for part in parts.teachers}
    parties = []
    for task in parts.tasks:
        measured = parts.evaluation.teachers.get(task.name, ())
        for i, teacher in enumerate(task.teachers):
            part = by_key[teacher.key]
            parties.append(
                Party(
                    name=part.name,
                    model=part.model,
                    digest=part.digest,
                    weight=teacher.weight,
                    task=task.name,
                    output=_scores(teacher.spec),
                    tasks={task.name: measured[i]} if measured else {},
                    parameters=part.cost.parameters,
                    bytes=part.cost.bytes,
                    flops=part.cost.flops,
                    latency=dict(part.cost.latency),
                    runtime=dict(part.cost.runtime),
                )
            )
    return tuple(parties)


def _scores(spec: OutputSpec) -> str | None:
    """What the raw scores of a teacher are; None for numbers."""
    return spec.output if isinstance(spec, ClassOutput | MultilabelOutput) else None


def _learner(name: str, part: LearnerPart, tasks: Mapping[str, dict[str, float | None]]) -> Party:
    return Party(
        name=name,
        parameters=part.cost.parameters,
        bytes=part.cost.bytes,
        flops=part.cost.flops,
        latency=dict(part.cost.latency),
        runtime=dict(part.cost.runtime),
        tasks=dict(tasks),
        seed=part.seed,
        epoch=part.epoch,
        steps=part.steps,
        cached=part.cached,
        digest=part.digest,
    )
