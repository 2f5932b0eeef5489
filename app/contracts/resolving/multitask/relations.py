"""The task relation matrix R: normalisation, and when it has no effect."""

from collections.abc import Sequence
from typing import TypeVar, assert_never

from app.contracts.resolving.data.class_names import names_of
from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resolving.multitask.grouping import groups_of
from app.contracts.resources.facts import OutputFacts
from app.contracts.specs.architectures import LibraryFamily, StudentSpec
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import AnyTrainingJob, MultitaskJob, TaskSpec
from app.contracts.specs.relations import (
    AppliedRelation,
    EstimatedRelation,
    GroupsRelation,
    MatrixRelation,
    RelationSource,
    RelationSpec,
    SearchedRelation,
)
from app.contracts.specs.sharing import CrossStitchSharing, TrunksSharing, scheme_of

DIAGONAL_FLOOR = 0.01
"""Least share of a task in its own row: a task without its own loss cannot be learned."""
_NEAR = 1e-9


def normalised(matrix: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """R with rows that sum to 1 and diagonal entries of at least `DIAGONAL_FLOOR`.

    Entries are non-negative and no row is all zero (the contract refuses others). Where the floor lifts a
    diagonal entry, the rest of its row shares what is left in its old proportions.
    """
    rows = []
    for i, row in enumerate(matrix):
        total = sum(row)
        shares = [entry / total for entry in row]
        if shares[i] < DIAGONAL_FLOOR:
            rest = 1.0 - shares[i]
            shares = [share * (1.0 - DIAGONAL_FLOOR) / rest for share in shares]
            shares[i] = DIAGONAL_FLOOR
        rows.append(tuple(shares))
    return tuple(rows)


def effective_weights(matrix: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    """Rᵀw: the weights of the losses when the objectives are summed with weights w."""
    return [sum(w * row[j] for w, row in zip(weights, matrix, strict=True)) for j in range(len(weights))]


def _same(left: Sequence[float], right: Sequence[float]) -> bool:
    return all(abs(a - b) < _NEAR for a, b in zip(left, right, strict=True))


def _shares(values: Sequence[float]) -> list[float]:
    total = sum(values)
    return [value / total for value in values]


def matrix_of(relation: MatrixRelation | GroupsRelation, names: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """R [K, K] as it is meant: of groups 1 within a group, 0 across. Not yet normalised."""
    match relation:
        case MatrixRelation():
            return relation.matrix
        case GroupsRelation():
            of = {name: i for i, group in enumerate(relation.groups) for name in group}
            return tuple(tuple(float(of[a] == of[b]) for b in names) for a in names)
        case _:
            assert_never(relation)


def source_of(relation: RelationSpec | None) -> RelationSource:
    """The source of R."""
    match relation:
        case None:
            return "none"
        case MatrixRelation() | GroupsRelation():
            return "given"
        case EstimatedRelation():
            return "estimated"
        case SearchedRelation():
            return "searched"
        case _:
            assert_never(relation)


def with_trunks(student: StudentSpec, relation: RelationSpec | None, names: Sequence[str]) -> StudentSpec:
    """The student with a trunk for each group of tasks, where the relation is known and gives them."""
    if not isinstance(relation, MatrixRelation | GroupsRelation) or relation.apply != "trunks":
        return student
    groups = tuple(tuple(names[i] for i in group) for group in groups_of(matrix_of(relation, names)))
    sharing = TrunksSharing(method="trunks", groups=groups) if len(groups) > 1 else "hard"
    return student.model_copy(update={"sharing": sharing})


def trunks_are_open(spec: AnyTrainingJob) -> bool:
    """Whether the number of trunks depends on an estimate or a search that is not made yet."""
    relation = spec.relation if isinstance(spec, MultitaskJob) else None
    match relation:
        case None | MatrixRelation() | GroupsRelation():
            return False
        case EstimatedRelation():
            return relation.apply == "trunks"
        case SearchedRelation():
            return any(candidate.apply == "trunks" for candidate in relation.search)
        case _:
            assert_never(relation)


def misfit(relation: MatrixRelation | GroupsRelation, names: Sequence[str]) -> tuple[str, str, str] | None:
    """(field, code, why) where a relation is not one of these tasks."""
    if isinstance(relation, MatrixRelation):
        size = len(relation.matrix)
        why = f"the relation has {size} rows and columns for {len(names)} tasks: one of each for every task"
        return ("matrix", "size_mismatch", why) if size != len(names) else None
    named = [name for group in relation.groups for name in group]
    unknown, missing = set(named) - set(names), set(names) - set(named)
    if not unknown and not missing:
        return None
    parts = [f"no tasks: {quoted(unknown)}"] if unknown else []
    parts += [f"in no group: {quoted(missing)}"] if missing else []
    return "groups", "unknown_task", f"every task is in one group; {'; '.join(parts)}"


def check_fit(spec: MultitaskJob, findings: Findings) -> MultitaskJob:
    """Problems for relations that are not of the job's tasks; without them the rest can be checked."""
    relation, names = spec.relation, [task.name for task in spec.tasks]
    candidates = relation.search if isinstance(relation, SearchedRelation) else (relation,)
    fits = True
    for i, each in enumerate(candidates):
        if isinstance(spec.student, LibraryFamily) and each is not None and each.apply in ("trunks", "towers"):
            place = f"/relation/search/{i}" if isinstance(relation, SearchedRelation) else "/relation"
            detail = (
                f"`{each.apply}` needs several trunks, and a network of {spec.student.family} has one: "
                'set `"apply": "rows"`, or use a family that Stillhouse builds'
            )
            findings.problem(f"{place}/apply", "sharing_undefined", detail)
            fits = False
            continue
        found = misfit(each, names) if isinstance(each, MatrixRelation | GroupsRelation) else None
        if found is not None:
            place = f"/relation/search/{i}" if isinstance(relation, SearchedRelation) else "/relation"
            findings.problem(f"{place}/{found[0]}", found[1], found[2])
            fits = False
    return spec if fits else spec.model_copy(update={"relation": None})


def lent_teachers(
    tasks: Sequence[TaskSpec], matrix: Sequence[Sequence[float]], agreeing: Sequence[Sequence[int]]
) -> tuple[TaskSpec, ...]:
    """Tasks whose teachers are those of all tasks that R lets teach them: their own first, then the others', each with
    its weight times R_ij (of normalised rows). A teacher of another task need not know the labels of this one.
    """
    found = []
    for i, (task, row) in enumerate(zip(tasks, normalised(matrix), strict=True)):
        lenders = [j for j in (i, *(j for j in agreeing[i] if j != i)) if row[j] > 0.0 and tasks[j].teachers]
        refs = tuple(
            ref.model_copy(update={"weight": ref.weight * row[j]}) for j in lenders for ref in tasks[j].teachers or ()
        )
        update: dict[str, object] = {"teachers": refs or None}
        if task.teachers is None and refs:
            terms = tasks[lenders[0]].distillation or DistillationSpec()
            update["distillation"] = terms.model_copy(update={"features": None, "allow_chance_teacher": True})
        elif len(refs) > len(task.teachers or ()):
            terms = task.distillation or DistillationSpec()
            update["distillation"] = terms.model_copy(update={"allow_chance_teacher": True})
        found.append(task.model_copy(update=update))
    return tuple(found)


def check_relation(
    spec: MultitaskJob, goals: Sequence[Goal | None], teacher_outputs: Sequence[OutputFacts | None], findings: Findings
) -> RelationSpec | None:
    """The relation with what the facts fill in. Problems where it cannot act, warnings where it has no effect.

    `goals` are the tasks', `teacher_outputs` those of the first teacher of each (None: no teacher, or not known yet).
    """
    relation = spec.relation
    if relation is None:
        return None
    if isinstance(relation, SearchedRelation):
        places = [f"/relation/search/{i}" for i in range(len(relation.search))]
        tried = zip(relation.search, places, strict=True)
        found = tuple(_checked(each, place, spec, goals, teacher_outputs, findings) for each, place in tried)
        return relation.model_copy(update={"search": found})
    return _checked(relation, "/relation", spec, goals, teacher_outputs, findings)


Form = TypeVar("Form", bound=AppliedRelation)


def _checked(
    relation: Form,
    place: str,
    spec: MultitaskJob,
    goals: Sequence[Goal | None],
    teacher_outputs: Sequence[OutputFacts | None],
    findings: Findings,
) -> Form:
    names = [task.name for task in spec.tasks]
    if isinstance(relation, EstimatedRelation):
        if len(names) < 2:
            findings.problem(place, "too_few_tasks", "a relation is measured between tasks, and there is one: add one")
    elif isinstance(relation, MatrixRelation | GroupsRelation) and relation.apply == "rows":
        _warn_of_rows(matrix_of(relation, names), spec, findings)
    if isinstance(relation, MatrixRelation | GroupsRelation):
        _warn_of_given(relation, names, place, findings)
    _check_trunks(relation, place, spec, names, findings)
    if relation.apply == "towers" and not isinstance(scheme_of(spec.student.sharing), CrossStitchSharing):
        findings.problem(
            f"{place}/apply",
            "no_towers",
            "`towers` drives towers that other tasks reach too, and this student has none: set "
            "`student.sharing` to `cross_stitch`, or apply the relation by `rows`",
        )
    if relation.apply != "teachers":
        return relation
    if not any(task.teachers for task in spec.tasks):
        findings.problem(
            f"{place}/apply", "no_teachers", "`teachers` lends the teachers of tasks, and no task has one: add some"
        )
    agreeing = tuple(
        tuple(j for j, output in enumerate(teacher_outputs) if j != i and _agrees(goal, output))
        for i, goal in enumerate(goals)
    )
    if all(goal is not None for goal in goals) and findings.complete and not any(agreeing):
        findings.warn(
            "relation_without_effect",
            "no head puts out what another task's teacher does, so no teacher is lent: leave `apply` out",
        )
    return relation.model_copy(update={"agreeing": agreeing})


def _check_trunks(
    relation: AppliedRelation, place: str, spec: MultitaskJob, names: Sequence[str], findings: Findings
) -> None:
    scheme = scheme_of(spec.student.sharing)
    if relation.apply != "trunks" or scheme is None:
        return
    if isinstance(relation, MatrixRelation | GroupsRelation):
        wanted = with_trunks(spec.student, relation, names).sharing
        if scheme_of(wanted) == scheme:  # as an earlier resolution filled it in
            return
    findings.problem(
        f"{place}/apply",
        "sharing_taken",
        f"`trunks` says who shares a trunk, and `student.sharing` says `{scheme.method}`: leave one of the two out",
    )


def _warn_of_given(
    relation: MatrixRelation | GroupsRelation, names: Sequence[str], place: str, findings: Findings
) -> None:
    matrix = matrix_of(relation, names)
    lifted = [name for i, name in enumerate(names) if _shares(matrix[i])[i] < DIAGONAL_FLOOR]
    if lifted:
        findings.warn(
            "relation_diagonal",
            f"`{place.strip('/')}`: a task without its own loss cannot be learned, so the share of {quoted(lifted)} "
            f"in their own rows is raised to {DIAGONAL_FLOOR}",
        )
    if relation.apply == "trunks" and len(names) > 1 and len(groups_of(matrix)) == 1:
        findings.warn(
            "relation_without_effect",
            f"`{place.strip('/')}`: all tasks teach each other, so they share one trunk, as without a relation",
        )


def _agrees(goal: Goal | None, output: OutputFacts | None) -> bool:
    """Whether a head and a teacher have outputs of one kind and size, and of classes of the same names."""
    if goal is None or output is None or (goal.kind, goal.size) != (output.spec.kind, output.size):
        return False
    theirs = names_of(output.spec)
    return goal.classes is None or theirs is None or goal.classes == theirs


def _warn_of_rows(given: Sequence[Sequence[float]], spec: MultitaskJob, findings: Findings) -> None:
    """Warn where the objectives R · L are equivalent to fixed weights, or all the same."""
    weights = [task.weight for task in spec.tasks]
    matrix = normalised(given)
    if not spec.balancing.constant_weights:
        shares = [_shares(row) for row in given]
        if len(shares) > 1 and all(_same(row, shares[0]) for row in shares[1:]):
            findings.warn(
                "relation_rank_one",
                "all rows of the relation are alike, so every objective is the same mixture and the balancer has "
                "nothing to balance: let rows differ, or leave the relation out",
            )
        return
    effect = _shares(effective_weights(matrix, weights))
    if _same(effect, _shares(weights)):
        findings.warn(
            "relation_without_effect",
            "summed by `fixed`, this relation gives the tasks the weights they have without it: use a gradient "
            "balancer to keep the objectives apart",
        )
    else:
        shown = ", ".join(f"{task.name} {share:.3g}" for task, share in zip(spec.tasks, effect, strict=True))
        findings.warn(
            "relation_is_weights", f"summed by `fixed`, this relation comes to fixed shares of the tasks: {shown}"
        )
