"""From trained members to outputs: evaluation, weights, ONNX, predictions, report."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.layouts.layouts import layers, parameter_count
from app.contracts.reports.baselines import BaselineReport
from app.contracts.reports.relation import RelationReport
from app.contracts.reports.report import OnnxCheck, TargetUse
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.resources.manifests import InputTransform, ModelManifest
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.jobs import MultitaskJob
from app.contracts.wire.events import ChildEvent, PhaseEvent
from app.contracts.wire.orders import PEER_ROLES, OutputFile, OutputRole, PeerModel, PeerRole, TrainingOutcome
from workers.engine.common.environment import environment
from workers.engine.common.eval_mode import evaluating
from workers.engine.common.files import sha256_of
from workers.engine.common.stop import Stop, check
from workers.engine.data.transform import apply
from workers.engine.evaluation.cost.flops import count_flops
from workers.engine.evaluation.cost.latency import example_batches, measure_latency
from workers.engine.evaluation.evaluate import Evaluation, evaluate
from workers.engine.evaluation.parties import EvaluatedTask, TaughtBy, network_outputs
from workers.engine.evaluation.predictions import PredictionsFile
from workers.engine.evaluation.relation_report import relation_report
from workers.engine.evaluation.report import Cost, MemberPart, ReportParts, TeacherPart, build_report
from workers.engine.export.model_card import Provenance, metadata
from workers.engine.export.onnx import check_onnx, export_onnx
from workers.engine.export.safetensors import export_safetensors
from workers.engine.jobs.baselines.comparing import compare, outputs_of_baselines
from workers.engine.jobs.runs.results import Settled
from workers.engine.jobs.test_analysis import Scrutiny, scrutinise
from workers.engine.jobs.train import Trained
from workers.engine.losses.teacher_mix import Lesson
from workers.engine.models import Network
from workers.engine.tasks.task import taught_rows
from workers.engine.teachers.teacher import Teacher

_CHECKED_ROWS = 2048


class Finish:
    """Evaluates and exports one trained job."""

    def __init__(self, trained: Trained, emit: Callable[[ChildEvent], None], stop: Stop) -> None:
        self._trained = trained
        self._emit = emit
        self._stop = stop
        self._folder = Path(trained.order.attempt_dir) / "outputs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files: list[OutputFile] = []

    def run(self) -> TrainingOutcome:
        """Everything after the last step. Raises UserError (`export_mismatch`) and Stopped."""
        trained = self._trained
        began = self._enter("evaluating")
        tasks = self._tasks()
        evaluation = self._evaluate(tasks)
        baselines = compare(trained, tasks, evaluation)
        scrutiny = scrutinise(trained, tasks, lambda: check(self._stop))
        evaluation.verdict.update(scrutiny.verdict)
        teachers = self._teacher_parts()
        cost = self._cost(trained.student.network)
        trained.seconds["evaluating"] = time.monotonic() - began
        began = self._enter("exporting")
        student = self._export("student", trained.student, evaluation)
        control = None
        if trained.control is not None:
            control = self._export("control", trained.control, evaluation)
        peers = self._export_peers(evaluation)
        checks = self._export_onnx(evaluation) if "onnx" in trained.spec.exports else {}
        trained.seconds["exporting"] = time.monotonic() - began
        parts = self._parts(tasks, evaluation, scrutiny, teachers, cost, student, control, checks, baselines)
        report = build_report(parts).model_dump(mode="json")
        (self._folder / "report.json").write_text(json.dumps(report, allow_nan=False))
        self._add("report", "report.json")
        return TrainingOutcome(
            files=tuple(self._files),
            student=self._facts(trained.course.architecture),
            student_manifest=self._manifest(trained.course.architecture),
            peers=peers,
            report=report,
        )

    def _enter(self, phase: str) -> float:
        check(self._stop)
        self._emit(PhaseEvent.model_validate({"phase": phase}))
        return time.monotonic()

    def _add(self, role: OutputRole, name: str) -> str:
        path = self._folder / name
        digest = sha256_of(path)
        self._files.append(OutputFile(role=role, path=name, bytes=path.stat().st_size, sha256=digest))
        return digest

    # Who is measured.

    def _tasks(self) -> list[EvaluatedTask]:
        return [
            EvaluatedTask(
                name=each.student.name,
                spec=each.student.spec,
                target=each.student.target,
                teachers=tuple(_taught_by(lesson) for lesson in each.lessons),
            )
            for each in self._trained.taught
        ]

    def _evaluate(self, tasks: list[EvaluatedTask]) -> Evaluation:
        trained = self._trained
        raw, transform, device = trained.dataset.inputs[trained.input_name], trained.transform, trained.device
        student = network_outputs(trained.student.network, raw, transform, device)
        control = network_outputs(trained.control.network, raw, transform, device) if trained.control else None
        several = [source.first for source in trained.dataset.sources] if len(trained.dataset.sources) > 1 else ()
        with PredictionsFile(self._folder / "predictions.npz", several) as predictions:
            found = evaluate(
                tasks,
                student,
                control,
                trained.dataset.splits,
                predictions,
                lambda: check(self._stop),
                outputs_of_baselines(trained),
            )
        self._add("predictions", "predictions.npz")
        return found

    # What they cost.

    def _examples(self, transform: InputTransform) -> Tensor:
        raw = self._trained.dataset.inputs[self._trained.input_name]
        return apply(raw[:64].to(self._trained.device), transform)

    def _cost(self, network: Network) -> Cost:
        rows = self._examples(self._trained.transform)
        with evaluating(network):
            latency = measure_latency(network, example_batches(rows), self._trained.device)
        return Cost(
            parameters=parameter_count(network.architecture),
            flops=count_flops(network, rows[:1]),
            latency=latency,
        )

    def _teacher_parts(self) -> list[TeacherPart]:
        faculty = self._trained.faculty
        parts = []
        for key in faculty.uses:
            teacher = faculty.teachers.get(key)
            if teacher is None:
                parts.append(TeacherPart(key=key, name=key))
                continue
            check(self._stop)
            model = self._trained.order.models[key]
            parts.append(
                TeacherPart(
                    key=key, name=teacher.name, cost=self._teacher_cost(teacher), model=model.id, digest=teacher.sha256
                )
            )
        return parts

    def _teacher_cost(self, teacher: Teacher) -> Cost:
        rows = self._examples(teacher.transform)
        flops = count_flops(teacher.network, rows[:1]) if teacher.network is not None else None
        return Cost(
            parameters=teacher.parameters,
            bytes=teacher.bytes,
            flops=flops,
            latency=measure_latency(teacher.forward, example_batches(rows), self._trained.device),
        )

    # What is handed out.

    def _metadata(
        self, evaluation: Evaluation, steps: int, *, control: bool, architecture: Architecture | None = None
    ) -> dict[str, object]:
        trained = self._trained
        provenance = Provenance(
            kind=trained.spec.kind,
            datasets=tuple(each.sha256 for each in trained.dataset_inputs),
            teachers=tuple(sorted({teacher.sha256 for teacher in trained.faculty.teachers.values()})),
            control=control,
            steps=steps,
            seed=trained.spec.training.seed,
            metrics=evaluation.control if control else evaluation.student,
            not_measured=evaluation.not_measured,
        )
        outputs = {each.student.name: each.student.spec for each in trained.taught}
        return metadata(architecture or trained.course.architecture, self._inputs(), outputs, provenance)

    def _inputs(self) -> dict[str, InputTransform]:
        return {self._trained.input_name: self._trained.transform}

    def _export(self, role: OutputRole, settled: Settled, evaluation: Evaluation) -> OutputFile:
        name = f"{role}.safetensors"
        own = settled.network.architecture
        said = self._metadata(evaluation, settled.steps, control=role == "control", architecture=own)
        export_safetensors(settled.network, self._folder / name, said)
        self._add(role, name)
        return self._files[-1]

    def _export_onnx(self, evaluation: Evaluation) -> dict[str, OnnxCheck]:
        trained = self._trained
        path = self._folder / "student.onnx"
        card = self._metadata(evaluation, trained.student.steps, control=False)
        export_onnx(trained.student.network, path, card, trained.input_name)
        rows = trained.dataset.splits.get("test", trained.dataset.splits["train"])[:_CHECKED_ROWS]
        raw = trained.dataset.inputs[trained.input_name][rows]
        x = apply(raw, trained.transform).reshape(len(rows), *trained.student.network.input_shape)
        found = check_onnx(path, trained.student.network, x)
        self._add("onnx", "student.onnx")
        return {"onnx": found}

    def _export_peers(self, evaluation: Evaluation) -> tuple[PeerModel, ...]:
        """The other students of mutual learning, as models of their own."""
        found = []
        for i, settled in enumerate(self._trained.peers):
            role: PeerRole = PEER_ROLES[i]
            self._export(role, settled, evaluation)
            architecture = self._trained.course.peers[i]
            found.append(PeerModel(role=role, facts=self._facts(architecture), manifest=self._manifest(architecture)))
        return tuple(found)

    def _facts(self, architecture: Architecture) -> ModelFacts:
        sizes = architecture.outputs or {}
        return ModelFacts(
            architecture=architecture,
            input_shape=architecture.input_shape,
            inputs=self._inputs(),
            outputs={
                each.student.name: OutputFacts(spec=each.student.spec, size=sizes[each.student.name])
                for each in self._trained.taught
            },
            parameters=parameter_count(architecture),
            layers=layers(architecture),
        )

    def _manifest(self, architecture: Architecture) -> ModelManifest:
        trained = self._trained
        return ModelManifest(
            name=trained.spec.name or f"{trained.spec.kind} student",
            format="safetensors",
            architecture=architecture,
            inputs=self._inputs(),
            outputs={each.student.name: each.student.spec for each in trained.taught},
        )

    # What is said about it.

    def _parts(
        self,
        tasks: list[EvaluatedTask],
        evaluation: Evaluation,
        scrutiny: Scrutiny,
        teachers: list[TeacherPart],
        cost: Cost,
        student: OutputFile,
        control: OutputFile | None,
        checks: dict[str, OnnxCheck],
        baselines: BaselineReport | None,
    ) -> ReportParts:
        trained = self._trained
        return ReportParts(
            spec=trained.spec,
            tasks=tasks,
            evaluation=evaluation,
            teachers=teachers,
            student=_member(cost, student, trained.student),
            # The same architecture: what one of the two costs, the other costs.
            control=_member(cost, control, trained.control) if control and trained.control else None,
            environment=environment(trained.device, trained.order.threads, trained.precision),
            datasets=trained.dataset_uses(),
            targets=[TargetUse.model_validate(use) for use in trained.targets],
            relation=self._relation(),
            baselines=baselines,
            search=trained.search,
            per_class=scrutiny.per_class,
            robustness=scrutiny.robustness,
            reliability=scrutiny.reliability,
            export=checks,
            warnings=trained.warnings,
            not_measured=self._not_measured(),
            micro_batch_size=trained.micro_batch_size,
            exact_accumulation=trained.exact_accumulation,
            bit_exact=trained.bit_exact,
            attempts=trained.order.attempt,
            digests=self._digests(student),
            seconds=trained.seconds,
        )

    def _relation(self) -> RelationReport | None:
        asked, trained = self._trained.spec, self._trained.course.spec
        if not isinstance(asked, MultitaskJob) or not isinstance(trained, MultitaskJob):
            return None
        return relation_report(asked, trained, self._trained.measured)

    def _not_measured(self) -> dict[str, str]:
        splits = self._trained.dataset.splits
        if "validation" not in splits:
            return {"selection": "the dataset has no validation split: the last epoch's weights were kept"}
        if len(taught_rows([each.student for each in self._trained.taught], splits["validation"])) == 0:
            return {
                "selection": "no row of the validation split has a label or a teacher's output: the last epoch's "
                "weights were kept"
            }
        return {}

    def _digests(self, student: OutputFile) -> dict[str, str]:
        trained = self._trained
        teachers = {f"teacher/{key}": each.sha256 for key, each in trained.faculty.teachers.items()}
        return {
            "spec": digest_of(trained.spec),
            **{f"dataset/{each.id}": each.sha256 for each in trained.dataset_inputs},
            **teachers,
            "student": student.sha256,
        }


def _member(cost: Cost, file: OutputFile, settled: Settled) -> MemberPart:
    costs = Cost(parameters=cost.parameters, bytes=file.bytes, flops=cost.flops, latency=cost.latency)
    return MemberPart(cost=costs, epoch=settled.epoch, steps=settled.steps, cached=settled.cached, digest=file.sha256)


def _taught_by(lesson: Lesson) -> TaughtBy:
    """The stored outputs again: evaluation makes no teacher pass."""

    def outputs(rows: Tensor) -> Tensor:
        return lesson.at(rows)

    return TaughtBy(key=lesson.key, weight=lesson.weight, spec=lesson.spec, outputs=outputs, output=lesson.output)
