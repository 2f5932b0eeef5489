"""The preflight job: loads data, runs the teachers and a few training steps, and reports errors and costs."""

from collections.abc import Container
from dataclasses import dataclass

import torch

from app.contracts.base import digest_of
from app.contracts.layouts.summary import flops, parameter_count
from app.contracts.problems import UserError
from app.contracts.reports.preflight import (
    MemoryEstimate,
    PreflightReport,
    SecondsEstimate,
    TeacherCheck,
    WouldFail,
)
from app.contracts.resolving.multitask.relations import trunks_are_open
from app.contracts.specs.jobs import AnyTrainingJob, PreflightJob
from app.contracts.wire.events import ChildEvent, PhaseEvent, WarningEvent
from app.contracts.wire.orders import Order, ReportOutcome
from workers.engine.common.determinism import make_deterministic
from workers.engine.common.environment import environment
from workers.engine.common.memory import available_bytes, is_out_of_memory, peak_bytes
from workers.engine.common.stop import Stop, check
from workers.engine.data.joining import dataset_inputs, read_datasets
from workers.engine.jobs.load import JobData, store_of
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.preflight.costs import Costs, estimate, stages
from workers.engine.jobs.preflight.teacher_checks import TeacherChecks, allow_chance_teachers
from workers.engine.jobs.preflight.trial import now
from workers.engine.jobs.report import report_outcome
from workers.engine.jobs.runs.beside import trains_beside_controls
from workers.engine.jobs.runs.runner import Runner
from workers.engine.jobs.runs.weak_teachers import tasks_to_compare
from workers.engine.jobs.search import candidates
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.tasks.build import BuiltTask, build_tasks, initial_weights, pretrained_weights, request_layers
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.teachers.teachers import Teachers
from workers.engine.training.interface import Emit
from workers.engine.training.passes.precision import Precision

_FAILURES = (UserError, RuntimeError, MemoryError)
"""Exceptions that may be failures of the job, see `_record_failure`."""


@dataclass
class _Findings:
    """The measurements; None where one failed."""

    teachers: tuple[TeacherCheck, ...] = ()
    steps: int | None = None
    costs: Costs | None = None
    loading: float = 0.0
    teaching: float = 0.0
    teaching_by_epoch: float | None = None


class Preflight:
    """The preflight of one job. Errors by which the job would fail are in its report; the preflight itself succeeds."""

    def __init__(self, order: Order, spec: PreflightJob, emit: Emit, stop: Stop) -> None:
        self._order = order
        self._spec = spec
        self._stop = stop
        self._emit_event = emit
        self._device = torch.device(order.device)
        self._available = available_bytes(self._device)
        self._warnings: list[dict[str, str]] = []
        self._would_fail: list[WouldFail] = []

    def run(self) -> ReportOutcome:
        """Load data, check the teachers, run a few steps. Raises Stopped, and UserError if the data cannot be read."""
        order = self._order
        make_deterministic(order.threads)
        began = self._enter("loading")
        for warning in order.warnings:
            self._emit(WarningEvent(code=warning["code"], message=warning["message"]))
        dataset = read_datasets(order, self._spec.dataset_refs())
        loaded = self._enter("teaching")
        job = self._spec.job
        data = JobData.of(job, dataset, self._device, order.tokenizers)
        with Teachers(order, dataset, self._device, self._check, store_of(job), data.augmentation) as teachers:
            findings = _Findings(loading=loaded - began)
            self._check_teachers(teachers, findings)
            findings.teaching = self._enter("evaluating") - loaded
            if not any(teacher.problem for teacher in findings.teachers):
                self._measure_steps(teachers, data, findings)
            return report_outcome(order, self._report(teachers, data, findings))

    def _check(self) -> None:
        check(self._stop)

    def _enter(self, phase: str) -> float:
        check(self._stop)
        self._emit(PhaseEvent.model_validate({"phase": phase}))
        return now(self._device)

    def _emit(self, event: ChildEvent) -> None:
        if isinstance(event, WarningEvent):
            warning = {"code": event.code, "message": event.message}
            if warning in self._warnings:
                return
            self._warnings.append(warning)
        self._emit_event(event)

    def _record_failure(self, error: Exception) -> None:
        """Record an error by which the job would fail; raises it if it is neither a UserError nor lack of memory."""
        if isinstance(error, UserError):
            failure = WouldFail(code=error.code, message=error.message)
        elif is_out_of_memory(error):
            message = (
                f"the {self._device.type} has too little memory for this job ({str(error)[:200]}): lower "
                "`training.micro_batch_size`, or use a smaller network"
            )
            failure = WouldFail(code="out_of_memory", message=message)
        else:
            raise error
        if failure not in self._would_fail:
            self._would_fail.append(failure)

    # Measurements.

    def _check_teachers(self, teachers: Teachers, findings: _Findings) -> None:
        """Run every teacher on all rows, and on the augmented rows of an epoch."""
        run_spec = _first_run_spec(self._spec.job)
        request_layers(run_spec, teachers)
        checks = TeacherChecks(run_spec, teachers, self._record_failure, self._emit)
        findings.teachers = checks.run()
        try:
            findings.teaching_by_epoch = self._augmented_epoch_seconds(checks.outputs)
        except _FAILURES as error:
            self._record_failure(error)

    def _augmented_epoch_seconds(self, outputs: list[TeacherOutputs]) -> float | None:
        augmented = [each.augmented for each in outputs if each.augmented is not None]
        began = now(self._device)
        for each in augmented:
            each.of_epoch(0)
        return now(self._device) - began if augmented else None

    def _measure_steps(self, teachers: Teachers, data: JobData, findings: _Findings) -> None:
        job = allow_chance_teachers(self._spec.job)
        try:
            chosen = {pointer.removeprefix("/job") for pointer in self._order.chosen}
            plan = _make_plan(job, teachers, chosen)
            runner = Runner(self._order, data, self._device, self._emit, self._stop)
            if plan.controls_first:
                plan.beside_controls = trains_beside_controls(runner, *plan.first())
            findings.steps = runner.steps = plan.steps
            findings.costs = estimate(stages(plan, runner), runner)
        except _FAILURES as error:
            self._record_failure(error)

    # The report.

    def _report(self, teachers: Teachers, data: JobData, findings: _Findings) -> PreflightReport:
        job, order = self._spec.job, self._order
        architecture = _first_run_spec(job).architecture
        memory = self._memory(teachers, data, findings.costs)
        return PreflightReport(
            would_fail=tuple(self._would_fail),
            teachers=findings.teachers,
            parameters=parameter_count(architecture) if not trunks_are_open(self._spec.job) else None,
            flops=flops(architecture),
            steps=findings.steps,
            stages=findings.costs.stages if findings.costs is not None else (),
            memory=memory,
            seconds=_seconds(findings),
            targets=tuple(teachers.uses.values()),
            warnings=tuple(self._warnings),
            environment=environment(self._device, order.threads, Precision(job.training, self._device).name),
            attempts=order.attempt,
            digests={
                "spec": digest_of(self._spec),
                **{f"dataset/{each.id}": each.sha256 for each in dataset_inputs(order, teachers.dataset)},
                **{f"teacher/{key}": teacher.sha256 for key, teacher in teachers.opened.items()},
            },
            spec=self._spec.model_dump(mode="json"),
        )

    def _memory(self, teachers: Teachers, data: JobData, costs: Costs | None) -> MemoryEstimate:
        rows = data.inputs.column.values.nbytes
        models = sum(teacher.bytes for teacher in teachers.opened.values())
        targets = sum(use.bytes for use in teachers.uses.values())
        common = MemoryEstimate(
            rows=rows,
            teachers=models,
            soft_targets=targets,
            peak=peak_bytes(self._device),
            available=self._available,
        )
        if costs is None:
            return common
        learners = costs.memory
        mapped = data.dataset.is_mapped and data.inputs.column.values is data.dataset.raw
        total = (0 if mapped else rows) + models + targets + learners.total
        if self._available is not None and total > self._available:
            message = (
                f"the job needs about {total:,} bytes at once, and {self._available:,} are free on this worker now"
            )
            self._emit(WarningEvent(code="memory_short", message=message))
        return common.model_copy(
            update={
                "soft_targets_of_views": _augmented_target_bytes(teachers, costs.epochs),
                "parameters": learners.parameters,
                "gradients": learners.gradients,
                "optimizer": learners.optimizer,
                "best": learners.best,
                "activations": learners.activations,
                "total": total,
            }
        )


def _first_run_spec(job: AnyTrainingJob) -> RunSpec:
    """The job's run spec; with a search the first candidate's, which uses the same teachers and layers."""
    trials = candidates(job)
    return RunSpec.of(trials[0].spec if trials else job)


def _make_plan(job: AnyTrainingJob, teachers: Teachers, chosen: Container[str]) -> Plan:
    def build(run_spec: RunSpec) -> tuple[BuiltTask, ...]:
        return build_tasks(run_spec, teachers, lambda event: None)

    run_spec = _first_run_spec(job)
    start = initial_weights(run_spec, teachers)
    tasks, dataset = build(run_spec), teachers.dataset
    pretrained = pretrained_weights(run_spec.architecture, teachers.order.models, tasks)
    first = bool(tasks_to_compare(job, chosen, tasks, dataset))
    return Plan(run_spec, tasks, dataset, candidates(job), job, build, start, 0, pretrained, first)


def _augmented_target_bytes(teachers: Teachers, epochs: int) -> int:
    """Bytes of the soft targets of all epochs' augmented rows, which have as many numbers as other rows."""
    if teachers.plan is None:
        return 0
    stored = [use for use in teachers.uses.values() if use.store != "columns"]
    return epochs * len(teachers.plan.split) * sum(use.bytes // use.rows for use in stored if use.rows)


def _seconds(findings: _Findings) -> SecondsEstimate:
    measured = SecondsEstimate(
        loading=findings.loading, teaching=findings.teaching, teaching_by_epoch=findings.teaching_by_epoch
    )
    if findings.costs is None:
        return measured
    student = next(stage for stage in findings.costs.stages if stage.name == "student")
    training = findings.costs.seconds + findings.costs.epochs * (findings.teaching_by_epoch or 0.0)
    return measured.model_copy(
        update={
            "step": student.step_seconds,
            "validation": student.validation_seconds,
            "training": training,
            "total": findings.loading + findings.teaching + training,
        }
    )
