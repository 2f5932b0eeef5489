"""Creates the learners of a run: student, control, peers, and vectorised students."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from app.contracts.problems import UserError
from app.contracts.specs.architectures import Architecture
from app.contracts.wire.events import WarningEvent
from workers.engine.balancing import Balancer, TowerRows, make_balancer
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.scoring import Scoring
from workers.engine.losses.soft_target_losses import ClassSoftTargets
from workers.engine.losses.term import Term
from workers.engine.models import Network, build, initialise
from workers.engine.tasks.task import Task
from workers.engine.training.affinity import Observer
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.interface import Emit
from workers.engine.training.learner import Learner
from workers.engine.training.vectorised.candidates import Candidates
from workers.engine.training.vectorised.conditions import can_train_together

PEERS = "students"
"""The group of the student and its peers."""


def make_learners(run: Run, schedule: BatchSchedule, device: torch.device, *, control: bool) -> list[Learner]:
    """The student, peers and control of a run. Raises UserError `batch_too_small`.

    Student and control have the same initial weights, drawn from the run's seed.
    """
    run_spec = run.run_spec
    learners = []
    if run.student:
        tasks = [each.student for each in run.tasks]
        group = PEERS if run_spec.peers else None
        student = _make_learner("student", run_spec.architecture, tasks, run, schedule, device, group)
        student.network.load_state_dict({**student.network.state_dict(), **run.start})
        student.frozen_heads = run_spec.frozen_heads
        learners.append(student)
        for i, architecture in enumerate(run_spec.peers):
            learners.append(_make_peer(i + 1, architecture, tasks, run, schedule, device))
    if control:
        tasks = [each.control for each in run.tasks if each.control is not None]
        learners.append(_make_learner("control", run_spec.architecture, tasks, run, schedule, device, None))
    if learners:
        _check_batch(learners[0], run, schedule)
    return learners


def make_candidates(
    name: str, runs: Sequence[Run], schedule: BatchSchedule, device: torch.device, scoring: Scoring | None = None
) -> Candidates | None:
    """The students of several runs of a search as vectorised learners; None if they cannot train together. `scoring`:
    how their selected epochs are compared.
    """
    if len(schedule.validation) == 0 or any(len(run.tasks) > 1 or run.run_spec.peers for run in runs):
        return None
    tasks = [run.tasks[0].student for run in runs]
    networks = [initial_network(run) for run in runs]
    if not can_train_together(tasks, networks, [run.training for run in runs]):
        return None
    only_task = tasks[0].name

    def compare(outputs: torch.Tensor) -> tuple[float | None, float | None]:
        assert scoring is not None
        found = scoring.of_outputs({only_task: outputs})
        return found.score, found.loss

    comparison = compare if scoring is not None else None
    return Candidates(tasks, networks, runs[0].training, schedule.steps, device, f"{name}/", comparison)


def warn_of_precision(learner: Learner, run: Run, emit: Emit) -> None:
    """Warn, with the job's first student, if the precision is not the requested one or accumulation is not exact."""
    if run.prefix or not run.student:
        return
    if learner.precision.warning is not None:
        emit(learner.precision.warning)
    if run.training.micro_batch_size is not None and learner.network.has_batch_norm:
        message = "micro-batches with BatchNorm, whose statistics are those of each micro-batch: not exact"
        emit(WarningEvent(code="inexact_accumulation", message=message))


def _make_learner(
    name: str,
    architecture: Architecture,
    tasks: Sequence[Task],
    run: Run,
    schedule: BatchSchedule,
    device: torch.device,
    group: str | None,
) -> Learner:
    tasks = [_softened_once(task) for task in tasks]
    network = build(architecture)
    initialise(network, run.training.seed)
    if architecture not in run.run_spec.peers:  # which start from random weights
        network.load_known(run.pretrained)
    applied = run.run_spec.relation
    relation = Relation(applied.matrix) if applied is not None else None
    balancer = _make_balancer(run, tasks, relation)
    learner = Learner(
        name, network, tasks, balancer, run.training, schedule.steps, device, group=group, prefix=run.prefix
    )
    follows = applied.follows if applied is not None else None
    if len(tasks) > 1 and learner.parameters.trunk and (name == "student" or follows is not None):
        live = relation if follows is not None else None
        names = [task.name for task in tasks]
        learner.observer = Observer(names, schedule.steps, follows or run.run_spec.probe, live)
    return learner


def _softened_once(task: Task) -> Task:
    """The task with soft targets for all rows, which are gone with the learner."""
    terms = (term.softened_once() if isinstance(term, ClassSoftTargets) else term for term in task.terms)
    return replace(task, terms=tuple(terms))


def _make_balancer(run: Run, tasks: Sequence[Task], relation: Relation | None) -> Balancer:
    applied = run.run_spec.relation
    weights = [task.weight for task in tasks]
    on_towers = applied is not None and applied.apply == "towers"
    rows = None if on_towers else relation
    balancer = make_balancer(run.run_spec.balancing, weights, rows, run.training.seed)
    if on_towers and relation is not None:
        return TowerRows(balancer, weights, relation)
    return balancer


def _make_peer(
    number: int,
    architecture: Architecture,
    tasks: Sequence[Task],
    run: Run,
    schedule: BatchSchedule,
    device: torch.device,
) -> Learner:
    """A peer: the student's tasks without terms on layers or with trained modules, and other initial weights."""
    tasks = [replace(task, terms=tuple(term for term in task.terms if _is_common(term))) for task in tasks]
    peer = _make_learner(f"peer-{number}", architecture, tasks, run, schedule, device, PEERS)
    initialise(peer.network, run.training.seed + number)
    return peer


def _is_common(term: Term) -> bool:
    return not term.taps and term.module is None


def initial_network(run: Run) -> Network:
    """The network of a run's student, or of its control where it trains the control alone, before the first step."""
    network = build(run.run_spec.architecture)
    initialise(network, run.training.seed)
    network.load_known(run.pretrained)
    if run.student:
        network.load_state_dict({**network.state_dict(), **run.start})
    return network


def _check_batch(learner: Learner, run: Run, schedule: BatchSchedule) -> None:
    smallest = min(len(schedule.rows), run.training.micro_batch_size or run.training.batch_size)
    over_rows = not learner.network.architecture.has_feature_maps  # else also over the places of a map or series
    if smallest == 1 and over_rows and learner.network.has_batch_norm:
        raise UserError(
            "batch_too_small",
            "BatchNorm takes its statistics over the rows of a batch, and there is one row: use batches and "
            "micro-batches of at least 2 rows, or a network without it (of an mlp, `normalization: layer`)",
        )
