"""From a spec as posted to a spec as trained: every default filled in, everything checked against its inputs.

Pure. The API calls it when a job is submitted, with what is known then; the worker calls it again when the
job is claimed, when every input is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from app.contracts.problems import Chosen, Problem
from app.contracts.resolving.data.joining import joined_facts
from app.contracts.resolving.data.mixtures import check_mixture
from app.contracts.resolving.data.predictions import with_predictions
from app.contracts.resolving.data.row_weights import check_row_weights
from app.contracts.resolving.data.targets import Goal, goal_of, learnable, supervised_goal, unlabelled_goal
from app.contracts.resolving.data.views import check_views
from app.contracts.resolving.data.warnings import repeat_warnings
from app.contracts.resolving.distillation.classes import (
    check_reused_classes,
    check_started_classes,
    taught_output,
    with_classes,
)
from app.contracts.resolving.distillation.embeddings import check_embedding
from app.contracts.resolving.distillation.features import check_layers
from app.contracts.resolving.distillation.forms import check_forms, reading_files
from app.contracts.resolving.distillation.methods import check_store
from app.contracts.resolving.distillation.mutual import check_mutual, fitted_peers
from app.contracts.resolving.distillation.phases import check_annealing, check_stopping
from app.contracts.resolving.distillation.searches import check_search
from app.contracts.resolving.distillation.teachers import (
    check_teacher,
    check_unknown,
    facts_of_teacher,
    named_output,
    resolved_terms,
    taught_alone,
)
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resolving.multitask.balancing import check_balancing
from app.contracts.resolving.multitask.baselines import with_baselines
from app.contracts.resolving.multitask.relations import check_fit, check_relation, trunks_are_open, with_trunks
from app.contracts.resolving.positions import check_positions, check_tasks_of_positions
from app.contracts.resolving.recipe.pooling import with_pooling_of_teacher
from app.contracts.resolving.recipe.settings import with_settings
from app.contracts.resolving.sizes import warn_of_sizes
from app.contracts.resolving.students.inits import check_init
from app.contracts.resolving.students.measured import Trunks, with_measured
from app.contracts.resolving.students.pretrained import check_start
from app.contracts.resolving.students.starts import by_posted_field, with_start
from app.contracts.resolving.students.students import fitted
from app.contracts.resolving.students.texts import check_formats, encoding_of
from app.contracts.resolving.students.tuning import check_tuning
from app.contracts.resolving.students.views import check_views_of_tokens
from app.contracts.resolving.supervision import check_selection, supervised_tasks, supervised_training
from app.contracts.resolving.validation import with_validation
from app.contracts.resources.facts import DatasetFacts, ModelFacts, OutputFacts
from app.contracts.specs.architectures import Architecture, LibraryFamily, Student
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.families.library import LibraryArchitecture
from app.contracts.specs.families.starts import StandIn
from app.contracts.specs.jobs import (
    AnyTrainingJob,
    DistillJob,
    MultitaskJob,
    PreflightJob,
    SubmittableJob,
    TaskSpec,
    TeacherRef,
    TrainJob,
)

Models = Mapping[str, ModelFacts | None]


@dataclass(frozen=True)
class Resolution:
    """A resolved spec, or the problems that prevent it.

    `complete` is false while an input is unknown (still verifying, or a job that has not ended), or a network of a
    library is not measured: then `spec` is resolved as far as possible, and the rest is checked at the claim.
    """

    spec: SubmittableJob
    problems: tuple[Problem, ...]
    warnings: tuple[dict[str, str], ...]
    chosen: Mapping[str, Chosen]
    complete: bool
    unmeasured: tuple[LibraryArchitecture, ...] = ()
    """Trunks of libraries that a worker must measure before the rest is known."""


def resolve(
    spec: SubmittableJob,
    datasets: Mapping[str, DatasetFacts | None],
    models: Models,
    *,
    threads: int,
    trunks: Trunks | None = None,
) -> Resolution:
    """Resolve `spec` against the facts of its datasets (by id) and teachers (by model id or job id), and what is known
    of the trunks of libraries.

    `threads` is the largest number of CPU threads to choose where the spec has none. A preflight is resolved as the
    job that it contains; the pointers of its problems start with `/job`.
    """
    match spec:
        case PreflightJob():
            return _preflight(spec, _resolve_training(spec.job, datasets, models, threads, trunks or {}))
        case TrainJob() | DistillJob() | MultitaskJob():
            return _resolve_training(spec, datasets, models, threads, trunks or {})
        case _:
            assert_never(spec)


def _resolve_training(
    spec: AnyTrainingJob, datasets: Mapping[str, DatasetFacts | None], models: Models, threads: int, trunks: Trunks
) -> Resolution:
    findings, posted = Findings(), spec
    refs = spec.dataset_refs()
    datasets = with_predictions(spec, datasets, findings)
    dataset = joined_facts(refs, datasets, findings)
    spec = with_measured(with_start(spec, dataset, models, findings), dataset, models, trunks, findings)
    if findings.unmeasured or isinstance(spec.network, StandIn):
        dataset = None
    spec = spec.model_copy(
        update={
            "dataset": None,
            "datasets": refs,
            "training": with_validation(spec, dataset, findings),
        }
    )
    if isinstance(spec, MultitaskJob):
        spec = check_fit(spec, findings)
    if dataset is None:
        findings.unknown()
        if isinstance(spec, MultitaskJob):
            check_relation(spec, [None] * len(spec.tasks), [None] * len(spec.tasks), findings)
    else:
        spec = _filled(spec, dataset, models, findings)
        check_row_weights(spec, dataset, findings)
        check_tuning(spec, findings)
        check_formats(spec, findings)
        check_embedding(spec, dataset, models, findings)
        own = reading_files(spec, datasets, models)
        spec = _with_recipe(spec, dataset, models, own, threads, findings)
    if isinstance(spec, MultitaskJob):
        check_balancing(spec, findings)
    _check_distillations(spec, findings)
    check_mixture(spec, datasets, findings)
    check_forms(spec, dataset, datasets, models, findings)
    check_views(spec, dataset, models, findings)
    check_views_of_tokens(spec, dataset, models, findings)
    check_search(spec, dataset, findings)
    repeat_warnings(spec, datasets, models, findings)
    by_posted_field(findings, posted)
    return Resolution(
        spec,
        tuple(findings.problems),
        tuple(findings.warnings),
        findings.chosen,
        findings.complete,
        tuple(findings.unmeasured),
    )


def _filled(spec: AnyTrainingJob, dataset: DatasetFacts, models: Models, findings: Findings) -> AnyTrainingJob:
    """The job with everything that its dataset and teachers fill in."""
    match spec:
        case TrainJob():
            return _train(spec, dataset, models, findings)
        case DistillJob():
            return _distill(spec, dataset, models, findings)
        case MultitaskJob():
            return _multitask(spec, dataset, models, findings)
        case _:
            assert_never(spec)


def _check_distillations(spec: AnyTrainingJob, findings: Findings) -> None:
    """Problems between the terms of a task and the rest of the job."""
    if isinstance(spec, TrainJob):
        return
    for pointer, distillation in _distillations(spec):
        check_store(spec.store, distillation.soft_targets or (), findings, pointer)
        check_stopping(distillation, spec.training, findings, pointer)


def _distillations(spec: DistillJob | MultitaskJob) -> list[tuple[str, DistillationSpec]]:
    match spec:
        case DistillJob():
            return [("/distillation", spec.distillation)]
        case MultitaskJob():
            return [
                (f"/tasks/{i}/distillation", task.distillation)
                for i, task in enumerate(spec.tasks)
                if task.distillation is not None
            ]
        case _:
            assert_never(spec)


def _preflight(spec: PreflightJob, found: Resolution) -> Resolution:
    problems = tuple(problem.model_copy(update={"pointer": f"/job{problem.pointer}"}) for problem in found.problems)
    chosen = {f"/job{pointer}": choice for pointer, choice in found.chosen.items()}
    return replace(found, spec=spec.model_copy(update={"job": found.spec}), problems=problems, chosen=chosen)


def _with_recipe(
    spec: AnyTrainingJob, dataset: DatasetFacts, models: Models, own: Sequence[str], threads: int, findings: Findings
) -> AnyTrainingJob:
    """The job with its training settings chosen, once its network is known. `own`: the teachers that read files."""
    network = spec.network
    if isinstance(network, StandIn) or not network.is_described or findings.problems:
        return spec
    if trunks_are_open(spec):
        network = network.model_copy(update={"sharing": "hard"})  # as far as it is known before its trunks are
    teachers = [facts_of_teacher(ref, dataset, models) for _, ref in spec.teacher_refs()]
    known = [facts for facts in teachers if isinstance(facts, ModelFacts)]
    training = with_settings(spec, network, known, dataset, own, threads, findings)
    warn_of_sizes(spec, network, training, dataset, models, findings)
    return spec.model_copy(update={"training": training})


def _train(spec: TrainJob, dataset: DatasetFacts, models: Models, findings: Findings) -> TrainJob:
    assert not isinstance(spec.model, StandIn), "its model is known"
    goal = supervised_goal(dataset, spec.target, findings, "/target")
    if goal is None:
        return spec
    check_positions(spec, goal, dataset, models, findings)
    model = fitted(spec.model, dataset, [goal], findings, "/model")
    check_start(model, models.get(model.pretrained or ""), dataset, [goal], findings, "/model")
    training = supervised_training(spec.training, goal, findings)
    check_selection(training, [goal], bool(dataset.splits.get("validation")), findings)
    return spec.model_copy(update={"target": goal.name, "model": model, "training": training})


def _teachers(
    teachers: tuple[TeacherRef, ...],
    task: str | None,
    dataset: DatasetFacts,
    models: Models,
    findings: Findings,
    pointer: str,
) -> tuple[TeacherRef, ...]:
    return tuple(named_output(ref, dataset, models, task, findings, f"{pointer}/{i}") for i, ref in enumerate(teachers))


def _mapped(
    teachers: tuple[TeacherRef, ...],
    goal: Goal,
    target: str | None,
    dataset: DatasetFacts,
    models: Models,
    findings: Findings,
    pointer: str,
) -> tuple[TeacherRef, ...]:
    """The teachers, each with its classes in the order of the goal's where they differ."""
    of_dataset = target is not None and goal_of(dataset, target) is not None
    known = [facts_of_teacher(ref, dataset, models) for ref in teachers]
    return tuple(
        with_classes(ref, facts, goal, of_dataset, findings, f"{pointer}/{i}")
        for i, (ref, facts) in enumerate(zip(teachers, known, strict=True))
    )


def _goal_with_teachers(
    target: str | None, teachers: tuple[TeacherRef, ...], dataset: DatasetFacts, models: Models, name: str | None
) -> Goal | None:
    """The dataset's labels where it has them, else what the first teacher predicts."""
    goal = goal_of(dataset, target) if target is not None else None
    if goal is not None:
        return goal
    if not teachers:
        return None
    first = teachers[0]
    facts = facts_of_teacher(first, dataset, models)
    if isinstance(facts, ModelFacts) and target is not None and target not in facts.outputs and name is None:
        return None
    return unlabelled_goal(name or target or first.columns or first.output, facts, first.output)


def _resolved_distillation(
    goal: Goal,
    teachers: tuple[TeacherRef, ...],
    distillation: DistillationSpec | None,
    dataset: DatasetFacts,
    models: Models,
    findings: Findings,
    pointer: str,
) -> DistillationSpec:
    known = [facts_of_teacher(ref, dataset, models) for ref in teachers]
    for i, (ref, facts) in enumerate(zip(teachers, known, strict=True)):
        check_teacher(ref, facts, goal, dataset, findings, f"{pointer}/teachers/{i}", is_first=i == 0)
    if goal.labelled == 0:
        findings.warn("no_labels", f"`{goal.name}` has no labels in the training split: it learns from teachers alone")
    outputs = [taught_output(ref, facts, goal) for ref, facts in zip(teachers, known, strict=True)]
    rows = dataset.splits.get("train", 0)
    distillation = resolved_terms(distillation, goal, outputs, rows, findings, f"{pointer}/distillation")
    check_annealing(distillation, goal, rows, findings, f"{pointer}/distillation")
    return distillation


def _features(
    student: Architecture,
    task: str,
    teachers: tuple[TeacherRef, ...] | None,
    distillation: DistillationSpec | None,
    dataset: DatasetFacts,
    models: Models,
    findings: Findings,
    pointer: str,
) -> None:
    """Check the layers that a task's terms name, once the student is known."""
    if teachers and distillation and student.is_described and not findings.problems:
        known = [facts_of_teacher(ref, dataset, models) for ref in teachers]
        outputs, own = [ref.output for ref in teachers], encoding_of(student, dataset, models)
        check_layers(distillation, known, outputs, student, task, findings, pointer, own)


def _init(
    student: Student,
    goals: list[Goal],
    teachers: tuple[TeacherRef, ...],
    dataset: DatasetFacts,
    models: Models,
    findings: Findings,
) -> None:
    """Check where the student starts from, once it is known; of several tasks the teachers are counted through."""
    check_start(student, models.get(student.pretrained or ""), dataset, goals, findings, "/student")
    if student.init is not None and student.is_described and not isinstance(student, LibraryFamily):
        known = [facts_of_teacher(ref, dataset, models) for ref in teachers]
        check_init(student.init, student, known, findings, "/student/init")
        check_started_classes(student.init, student, teachers, known, findings, "/student/init")


def _distill(spec: DistillJob, dataset: DatasetFacts, models: Models, findings: Findings) -> DistillJob:
    assert not isinstance(spec.student, StandIn), "its model is known"
    target = spec.target
    names = learnable(dataset)
    if target is None and len(names) == 1:
        target = names[0]
    elif target is None and names:
        others = taught_alone(spec.teachers or (), dataset, models)
        detail = f"name the target to learn: this dataset has {quoted(names)}{others}"
        findings.problem("/target", "target_needed", detail)
        return spec
    teachers = _teachers(spec.teachers or (), target, dataset, models, findings, "/teachers")
    goal = _goal_with_teachers(target, teachers, dataset, models, name=None)
    if goal is None:
        return _without_goal(spec, target, names, teachers, dataset, models, findings)
    check_positions(spec.model_copy(update={"teachers": teachers or None}), goal, dataset, models, findings)
    distillation = spec.distillation
    teachers = _mapped(teachers, goal, target, dataset, models, findings, "/teachers")
    if teachers:
        distillation = _resolved_distillation(goal, teachers, spec.distillation, dataset, models, findings, "")
    check_mutual(spec, goal, findings)
    if spec.control and goal.labelled == 0:
        findings.warn("no_control", "a control learns from labels, and there are none: it is left out")
    known = [facts_of_teacher(ref, dataset, models) for ref in teachers]
    student = with_pooling_of_teacher(spec.student, known, findings)
    student = fitted(student, dataset, [goal], findings, "/student")
    _features(student, goal.name, teachers, distillation, dataset, models, findings, "/distillation")
    check_reused_classes(teachers, distillation, spec.store, findings, "")
    _init(student, [goal], teachers, dataset, models, findings)
    training = supervised_training(spec.training, goal, findings)
    check_selection(training, [goal], bool(dataset.splits.get("validation")), findings)
    return spec.model_copy(
        update={
            "target": goal.name,
            "training": training,
            "teachers": teachers or None,
            "student": student,
            "distillation": distillation,
            "control": spec.control if goal.labelled > 0 else False,
            "mutual": fitted_peers(spec.mutual, student.inputs, dataset, goal, findings),
        }
    )


def _without_goal(
    spec: DistillJob,
    target: str | None,
    names: list[str],
    teachers: tuple[TeacherRef, ...],
    dataset: DatasetFacts,
    models: Models,
    findings: Findings,
) -> DistillJob:
    """Neither labels nor the output of a known teacher define the task: unknown yet, or a wrong name."""
    if not teachers:
        supervised_goal(dataset, target, findings, "/target")
    elif facts_of_teacher(teachers[0], dataset, models) is None:
        _no_goal_yet(teachers[0], dataset, models, findings, "/teachers/0")
    elif not findings.problems:
        findings.problem(
            "/target",
            "unknown_target",
            f"neither dataset nor teacher has a target `{target}`: the dataset has {quoted(names)}",
        )
    return spec


def _no_goal_yet(first: TeacherRef, dataset: DatasetFacts, models: Models, findings: Findings, pointer: str) -> None:
    """A first teacher whose output is not known: wrong columns are a problem, a model may still come."""
    if facts_of_teacher(first, dataset, models) is None:
        check_unknown(first, dataset, findings, pointer)


def _task(
    task: TaskSpec, dataset: DatasetFacts, models: Models, findings: Findings, pointer: str
) -> tuple[TaskSpec, Goal | None]:
    target = task.target or task.name
    if task.teachers is None:
        goal = supervised_goal(dataset, target, findings, f"{pointer}/target")
        resolved = task.model_copy(update={"target": target})
    else:
        teachers = _teachers(task.teachers, target, dataset, models, findings, f"{pointer}/teachers")
        goal = _goal_with_teachers(target, teachers, dataset, models, name=task.name)
        resolved = task.model_copy(update={"target": target, "teachers": teachers})
        if goal is None:
            _no_goal_yet(teachers[0], dataset, models, findings, f"{pointer}/teachers/0")
        else:
            teachers = _mapped(teachers, goal, target, dataset, models, findings, f"{pointer}/teachers")
            distillation = _resolved_distillation(goal, teachers, task.distillation, dataset, models, findings, pointer)
            resolved = resolved.model_copy(update={"teachers": teachers, "distillation": distillation})
    if goal is None:
        return resolved, None
    return resolved, replace(goal, name=task.name)


def _multitask(spec: MultitaskJob, dataset: DatasetFacts, models: Models, findings: Findings) -> MultitaskJob:
    pairs = [_task(task, dataset, models, findings, f"/tasks/{i}") for i, task in enumerate(spec.tasks)]
    tasks = tuple(task for task, _ in pairs)
    goals = [goal for _, goal in pairs if goal is not None]
    check_tasks_of_positions(
        spec.model_copy(update={"tasks": tasks}), [goal for _, goal in pairs], dataset, models, findings
    )
    update: dict[str, object] = {"tasks": tasks}
    if len(goals) == len(tasks):
        tasks = update["tasks"] = supervised_tasks(tasks, goals, spec.training, findings)
        check_selection(spec.training, goals, bool(dataset.splits.get("validation")), findings)
        known = [facts_of_teacher(ref, dataset, models) for task in tasks for ref in task.teachers or ()]
        wanted = with_trunks(spec.student, spec.relation, [task.name for task in tasks])
        assert not isinstance(wanted, StandIn), "its model is known"
        wanted = with_pooling_of_teacher(wanted, known, findings)
        student = update["student"] = fitted(wanted, dataset, goals, findings, "/student")
        refs = tuple(ref for task in tasks for ref in task.teachers or ())
        _init(student, goals, refs, dataset, models, findings)
        for i, task in enumerate(tasks):
            place = f"/tasks/{i}/distillation"
            _features(student, task.name, task.teachers, task.distillation, dataset, models, findings, place)
            own = task.distillation or DistillationSpec()
            check_reused_classes(task.teachers or (), own, spec.store, findings, f"/tasks/{i}")
        has_teachers = any(task.teachers for task in tasks)
        all_labelled = all(goal.labelled > 0 for goal in goals)
        if spec.control and has_teachers and not all_labelled:
            findings.warn("no_control", "a control learns from labels, and a task has none: it is left out")
        update["control"] = spec.control if has_teachers and all_labelled else False
        update["baselines"] = with_baselines(spec.baselines, goals, dataset, findings)
    resolved = spec.model_copy(update=update)
    all_goals = [goal for _, goal in pairs]
    outputs = [_first_output(task, goal, dataset, models) for task, goal in zip(tasks, all_goals, strict=True)]
    relation = check_relation(spec.model_copy(update={"tasks": tasks}), all_goals, outputs, findings)
    return resolved.model_copy(update={"relation": relation})


def _first_output(task: TaskSpec, goal: Goal | None, dataset: DatasetFacts, models: Models) -> OutputFacts | None:
    """The output of the first teacher of a task, as far as it is known."""
    if not task.teachers:
        return None
    return taught_output(task.teachers[0], facts_of_teacher(task.teachers[0], dataset, models), goal)
