"""Executes runs: resumes them from checkpoints, uses cached controls, and handles out-of-memory errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from app.contracts.wire.events import ProgressEvent, WarningEvent
from app.contracts.wire.orders import Order
from workers.engine.common.environment import environment_fingerprint
from workers.engine.common.files import read_document, write_document
from workers.engine.common.memory import is_out_of_memory
from workers.engine.common.stop import Stop
from workers.engine.data.rows.columns import Rows
from workers.engine.evaluation.relation_report import RelationMeasurements
from workers.engine.evaluation.warnings.history import History, label_losses
from workers.engine.jobs.load import JobData
from workers.engine.jobs.runs.cached_control import CachedControl, control_facts
from workers.engine.jobs.runs.learners import make_candidates, make_learners, warn_of_precision
from workers.engine.jobs.runs.out_of_memory import OutOfMemoryPolicy
from workers.engine.jobs.runs.population import by_run, make_population, trained_models
from workers.engine.jobs.runs.results import FinishedRuns, RunResult, TrainedModel, measured_rows
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.scoring import Scored, Scoring
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.checkpoints.folder import Checkpoint, CheckpointFolder, RunFacts
from workers.engine.training.interface import Emit, Trainable
from workers.engine.training.learner import Learner
from workers.engine.training.loop import Loop
from workers.engine.training.validation import training_metrics
from workers.engine.training.vectorised.batches import MemberBatches
from workers.engine.training.vectorised.candidates import Candidates
from workers.engine.training.vectorised.learners import VectorisedLearners
from workers.engine.training.vectorised.seeds import Seeds


@dataclass(frozen=True)
class VectorisedResult:
    """The measures of runs that trained as one vectorised step, and facts of the run."""

    scores: list[Scored]
    seconds: float
    bit_exact: bool


@dataclass(frozen=True)
class _Prepared:
    """A run with its loop and learners."""

    run: Run
    loop: Loop
    learners: list[Learner]
    control: CachedControl
    cached: TrainedModel | None


@dataclass
class Runner:
    """Executes the runs of a job on one device."""

    order: Order
    data: JobData
    device: torch.device
    emit: Emit
    stop: Stop
    steps: int = 0
    """Optimizer steps of all runs of the job."""
    _warned_of_environment: bool = field(default=False, init=False)

    def run(self, run: Run) -> RunResult:
        """Train the learners of a run, or load the result of an earlier attempt. Raises Stopped and UserError.

        If memory runs out, it continues once from the last checkpoint, with smaller micro-batches.
        """
        finished = FinishedRuns(Path(self.order.checkpoints_dir) / "finished", self.device)
        result = finished.find(run) if run.name else None
        if result is not None:
            return replace(result, bit_exact=result.bit_exact and self._is_same_environment(result.environment))
        prepared: _Prepared | None = None
        while result is None:
            try:
                prepared = self._prepare(run)
                prepared.loop.run()
                result = self._result(prepared)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                message = str(error)
            if result is None:
                prepared = None  # frees the tensors of the step; the error and its traceback are gone here
                self.memory_policy.halve_micro_batches(self.memory_policy.applied(run), self.data.inputs, message)
        if run.name:
            finished.save(run.name, result)
        return result

    def trains_at_once(self, run: Run) -> bool:
        """Whether the student and the control of a run may train at once, on a processor each."""
        if self._at_once == 1 or self.data.augmentation is not None or run.control_alone is not None:
            return False
        learners = make_learners(run, run.schedule(), self.device, control=True)
        return 1 < len(learners) <= self._at_once and all(each.is_independent for each in learners)

    def skip(self, steps: int, done: int, epochs: int) -> None:
        """Say that so many planned steps of the job are not needed, after `done` steps and a run of `epochs` epochs."""
        if steps <= 0:
            return
        self.steps = max(done, self.steps - steps)
        percent = 100.0 * done / max(1, self.steps)
        self.emit(
            ProgressEvent(phase="training", percent=percent, epoch=epochs, epochs=epochs, step=done, steps=self.steps)
        )

    @cached_property
    def memory_policy(self) -> OutOfMemoryPolicy:
        """The job's reaction to out-of-memory errors."""
        return OutOfMemoryPolicy(Path(self.order.checkpoints_dir), self.emit)

    @property
    def _at_once(self) -> int:
        """Learners of a run that may train at once."""
        return max(1, self.order.cores // self.order.threads) if self.device.type == "cpu" else 1

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return environment_fingerprint(self.device, self.order.threads)

    def _prepare(self, requested: Run) -> _Prepared:
        run = self.memory_policy.applied(requested)
        schedule = run.schedule()
        checkpoints, checkpoint = self._checkpoints(run.name)
        facts, job_facts = (control_facts(each, schedule, self.order, self.data) for each in (run, requested))
        control = CachedControl(self.order, facts | {"environment": self._environment}, job_facts, checkpoint)
        cached = control.find(run.run_spec.architecture, self.device) if run.control else None
        learners = self.learners(run, schedule, control=run.control and cached is None)
        if checkpoint is not None and {learner.name for learner in learners} != set(checkpoint.state["learners"]):
            checkpoints.clear()  # its cached control was removed: restart, which gives the same bits
            checkpoint = None
        run_facts = self._run_facts(checkpoint, run.training.micro_batch_size)
        loop = self._loop(run, learners, schedule, checkpoints, run_facts)
        if checkpoint is not None:
            loop.resume(checkpoint)
        if not learners:
            loop.step = schedule.steps  # the only learner is a cached control
        return _Prepared(run, loop, learners, control, cached)

    def _result(self, prepared: _Prepared) -> RunResult:
        loop, learners = prepared.loop, prepared.learners
        models = {learner.name: _trained_model(learner, loop) for learner in learners}
        bit_exact = loop.facts["bit_exact"]
        if prepared.cached is not None:
            models["control"] = prepared.cached
        elif "control" in models and bit_exact:
            prepared.control.share(models["control"])
        precision = learners[0].precision.name if learners else "float32"
        return RunResult(models, bit_exact, loop.seconds, precision, _measured(learners), self._environment)

    def run_vectorised(self, name: str, runs: Sequence[Run], scoring: Scoring) -> VectorisedResult | None:
        """Train the students of several runs as one vectorised step; None if that is not possible. Raises Stopped."""
        schedule = runs[0].schedule()
        learners = self.vectorised(name, runs, schedule, scoring)
        if learners is None:
            return None
        path = Path(self.order.checkpoints_dir) / "finished" / f"{name}.json"
        result = read_document(path)
        if result is None or "compared" not in result:  # or by an earlier version, which compared training losses
            checkpoints, checkpoint = self._checkpoints(name)
            if checkpoint is not None and not learners.can_load(checkpoint.state["learners"][learners.name]):
                checkpoints.clear()
                checkpoint = None
            folder = checkpoints, checkpoint
            loop = self._vectorised_loop(replace(runs[0], name=name), learners, schedule, folder)
            if not self._run_within_memory(loop):
                return None
            facts = {"environment": self._environment, "bit_exact": loop.facts["bit_exact"]}
            result = {"compared": learners.compared, "seconds": loop.seconds, **facts}
            write_document(path, result)
        exact = result["bit_exact"] and self._is_same_environment(result["environment"])
        return VectorisedResult([Scored(*each) for each in result["compared"]], result["seconds"], exact)

    def cached_control(self, run: Run) -> TrainedModel | None:
        """The control of a run of its own, if an earlier job left it in the cache."""
        for vectorised in (False, True):
            control = self._control(run, vectorised=vectorised).find(run.run_spec.architecture, self.device)
            if control is not None:
                return control
        return None

    def _control(self, run: Run, *, vectorised: bool) -> CachedControl:
        """The place in the cache of a control by itself. One of a vectorised step has another, as its last bits differ,
        also by the number of those that train with it.
        """
        schedule, applied = run.schedule(), self.memory_policy.applied(run)
        facts, job_facts = (
            control_facts(each, schedule, self.order, self.data) | ({"vectorised": True} if vectorised else {})
            for each in (applied, run)
        )
        return CachedControl(self.order, facts | {"environment": self._environment}, job_facts, None)

    def run_population(self, name: str, runs: Sequence[Run]) -> list[RunResult] | None:
        """Train runs that differ in their seed only, each of a student or each of a control alone, as one vectorised
        step; returns the result of each. `name` is that of its checkpoints and results.

        None where that is not possible or not faster, or if memory ran out: execute each with `run` then. `seconds` of
        a result is an equal part of the whole. Raises Stopped and UserError.
        """
        if len(runs) < 2 or any(run.student == run.control for run in runs):
            return None
        finished = FinishedRuns(Path(self.order.checkpoints_dir) / "finished", self.device)
        whole = finished.find(replace(runs[0], name=name))
        if whole is None or len(whole.models) != len(runs):
            whole = self._train_population(name, runs)
            if whole is None:
                return None
            finished.save(name, whole)
        else:
            whole = replace(whole, bit_exact=whole.bit_exact and self._is_same_environment(whole.environment))
        return by_run(whole, runs)

    def _train_population(self, name: str, runs: Sequence[Run]) -> RunResult | None:
        population = self.population(runs)
        if population is None:
            return None
        learners, schedule = population
        folder = self._checkpoints(name)
        loop = self._vectorised_loop(replace(runs[0], name=name), learners, schedule, folder, len(runs))
        if not self._run_within_memory(loop):
            return None
        models = trained_models(learners, runs, schedule, self.data.inputs)
        bit_exact = loop.facts["bit_exact"]
        for run, model in zip(runs, models.values(), strict=True):
            if run.control and bit_exact:
                self._control(run, vectorised=True).share(model)
        return RunResult(models, bit_exact, loop.seconds, environment=self._environment)

    def _vectorised_loop(
        self,
        run: Run,
        learners: VectorisedLearners,
        schedule: BatchSchedule,
        folder: tuple[CheckpointFolder, Checkpoint | None],
        members: int = 1,
    ) -> Loop:
        checkpoints, checkpoint = folder
        loop = self._loop(run, [learners], schedule, checkpoints, self._run_facts(checkpoint, None))
        loop.members = members
        if checkpoint is not None:
            loop.resume(checkpoint)
        return loop

    @property
    def _is_short_of_memory(self) -> bool:
        """Whether memory ran out before, so that nothing is vectorised."""
        return not self.memory_policy.vectorised or self.memory_policy.micro_batch_size is not None

    def learners(self, run: Run, schedule: BatchSchedule, *, control: bool) -> list[Learner]:
        """The learners of a run. Raises UserError `batch_too_small`."""
        learners = make_learners(run, schedule, self.device, control=control)
        if learners:
            warn_of_precision(learners[0], run, self.emit)
        return learners

    def population(self, runs: Sequence[Run]) -> tuple[Seeds, MemberBatches] | None:
        """The learners and batches of `run_population`; None where it does not train these runs."""
        return None if self._is_short_of_memory else make_population(runs, self.device)

    def vectorised(
        self, name: str, runs: Sequence[Run], schedule: BatchSchedule, scoring: Scoring | None = None
    ) -> Candidates | None:
        """The students of several runs as vectorised learners; None if they cannot train together or memory ran out."""
        return None if self._is_short_of_memory else make_candidates(name, runs, schedule, self.device, scoring)

    def _run_within_memory(self, loop: Loop) -> bool:
        """Run the loop of vectorised learners. Returns False if memory runs out: they then train one after another."""
        try:
            loop.run()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self.memory_policy.disable_vectorised()
            return False
        return True

    # Resuming.

    def _checkpoints(self, name: str) -> tuple[CheckpointFolder, Checkpoint | None]:
        folder = CheckpointFolder(Path(self.order.checkpoints_dir) / name, self.order.attempt)
        checkpoint = folder.load()
        if folder.unusable:
            outcome = "starts again" if checkpoint is None else f"continues from step {checkpoint.step}"
            message = (
                f"{folder.unusable} checkpoint(s) were damaged or of another format, and were removed: "
                f"training {outcome}"
            )
            self.emit(WarningEvent(code="checkpoint_damaged", message=message))
        return folder, checkpoint

    def _run_facts(self, checkpoint: Checkpoint | None, micro_batch_size: int | None) -> RunFacts:
        facts = RunFacts(environment=self._environment, bit_exact=True, micro_batch_size=micro_batch_size)
        if checkpoint is not None:
            state = checkpoint.state
            resized = state.get("micro_batch_size", micro_batch_size) != micro_batch_size and checkpoint.step > 0
            same_environment = state["bit_exact"] and self._is_same_environment(state["environment"])
            facts["bit_exact"] = same_environment and not resized
        return facts

    def _is_same_environment(self, other: dict[str, Any]) -> bool:
        """Whether `other`, of an earlier attempt, is the current environment. Warns once in an attempt if not."""
        changed = sorted(name for name in self._environment if other.get(name) != self._environment[name])
        if changed and not self._warned_of_environment:
            self._warned_of_environment = True
            message = (
                f"the job was resumed with other {', '.join(changed)}: its student is not bit-identical to that of an "
                "uninterrupted job"
            )
            self.emit(WarningEvent(code="not_bit_exact", message=message))
        return not changed

    def _loop(
        self,
        run: Run,
        learners: Sequence[Trainable],
        schedule: BatchSchedule,
        checkpoints: CheckpointFolder,
        facts: RunFacts,
    ) -> Loop:
        return Loop(
            learners,
            self.data.inputs,
            schedule,
            checkpoints,
            self.order.checkpoint_seconds,
            self.emit,
            self.stop,
            facts,
            name=run.name,
            augmentation=self.data.augmentation,
            offset=run.offset,
            all_steps=self.steps,
            at_once=self._at_once,
        )


def _measured(learners: Sequence[Learner]) -> RelationMeasurements | None:
    observers = [each.observer for each in learners if each.name == "student" and each.observer is not None]
    return observers[0].summary() if observers else None


def _trained_model(learner: Learner, loop: Loop) -> TrainedModel:
    history = History(tuple(learner.evaluations), _training_losses(learner, loop))
    epoch = learner.finish(-(-learner.steps // loop.schedule.batches))
    loss = learner.best.loss if isfinite(learner.best.loss) else None
    facts = learner.steps, learner.best.score, loss
    return TrainedModel(learner.network, epoch, *facts, history=history, input_ranges=learner.take_input_ranges())


def _training_losses(learner: Learner, loop: Loop) -> dict[str, float]:
    """The losses on labels of at most BLOCK training rows, evenly spaced, after the last step; none where nothing was
    validated, to which they are compared.
    """
    if not learner.evaluations:
        return {}
    rows = Rows.on(loop.inputs.column.device, measured_rows(loop.schedule))
    measured = training_metrics(learner, loop.inputs, rows)
    return label_losses(measured, {task.name: task.spec.kind for task in learner.tasks})
