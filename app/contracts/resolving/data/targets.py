"""Which of a dataset's targets a task learns, and what kind of numbers it predicts."""

from dataclasses import dataclass

from app.contracts.resolving.data.class_names import names_of
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resources.facts import DatasetFacts, ModelFacts, OutputFacts
from app.contracts.resources.manifests import MapOutput
from app.contracts.specs.distillation import TaskKind


@dataclass(frozen=True)
class Goal:
    """What a task predicts. `labelled` and `validated` count the training and validation rows that have a label."""

    name: str
    kind: TaskKind
    size: int
    classes: tuple[str, ...] | None
    labelled: int
    validated: int = 0
    shape: tuple[int, int] | None = None
    """[height, width] of a map."""

    @classmethod
    def of_output(cls, name: str, output: OutputFacts) -> "Goal":
        """The goal of rows without labels: what the teacher predicts."""
        spec = output.spec
        shape = spec.shape if isinstance(spec, MapOutput) else None
        return cls(name, spec.kind, output.size, names_of(spec), labelled=0, shape=shape)


def class_names(goal: Goal) -> tuple[str, ...]:
    """The names of a goal's classes or labels; their numbers, from 0, where it has no names."""
    return goal.classes or tuple(str(i) for i in range(goal.size))


def named_class(key: str, names: tuple[str, ...]) -> str:
    """The class that a key of a spec means: one of `names`, or else the one of that number."""
    if key not in names and key.isdecimal() and int(key) < len(names):
        return names[int(key)]
    return key


def learnable(dataset: DatasetFacts) -> list[str]:
    """The targets that are labels, not outputs of a teacher."""
    return [name for name, target in dataset.targets.items() if target.kind != "teacher"]


def goal_of(dataset: DatasetFacts, name: str) -> Goal | None:
    """The goal that a dataset's target sets; None where the dataset has no such labels."""
    target = dataset.targets.get(name)
    if target is None or target.kind == "teacher":
        return None
    train, validation = target.labelled.get("train", 0), target.labelled.get("validation", 0)
    return Goal(name, target.kind, target.size, target.classes, train, validation, target.shape)


def supervised_goal(dataset: DatasetFacts, target: str | None, findings: Findings, pointer: str) -> Goal | None:
    """The goal of a task that must have labels; a missing or ambiguous name is a problem."""
    names = learnable(dataset)
    if target is None:
        if len(names) != 1:
            findings.problem(pointer, "target_needed", f"name the target to learn: this dataset has {quoted(names)}")
            return None
        target = names[0]
    goal = goal_of(dataset, target)
    if goal is None:
        findings.problem(
            pointer, "unknown_target", f"the dataset has no labels `{target}`: its targets are {quoted(names)}"
        )
    elif goal.labelled == 0:
        findings.problem(
            pointer, "no_labels", f"`{target}` has no label in the training split: add labels, or a teacher"
        )
        return None
    return goal


def unlabelled_goal(
    name: str | None, first_teacher: ModelFacts | OutputFacts | None, output: str | None
) -> Goal | None:
    """The goal of rows without labels, from the first teacher; None while that is unknown or ambiguous."""
    if first_teacher is None:
        return None
    if isinstance(first_teacher, OutputFacts):
        return Goal.of_output(name or "output", first_teacher)
    key = output or name or (next(iter(first_teacher.outputs)) if len(first_teacher.outputs) == 1 else None)
    if key is None or key not in first_teacher.outputs:
        return None
    return Goal.of_output(name or key, first_teacher.outputs[key])
