"""The stages of a job, in order: candidates of a search, their controls, the job's own, further seeds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor

from app.contracts.specs.jobs import MultitaskJob
from workers.engine.balancing.relation.matrix import Matrix
from workers.engine.data.dataset import Dataset
from workers.engine.jobs.baselines.planning import labelled_tasks
from workers.engine.jobs.runs.results import StageResult
from workers.engine.jobs.runs.runner import Stage
from workers.engine.jobs.search import Candidate, folds, folds_of, searches_rate
from workers.engine.tasks.build import Course, Spec, Taught, course_of
from workers.engine.tasks.relation import with_estimate


@dataclass
class Plan:
    """What is trained for a spec; `offset` counts the steps of the stages before the next."""

    course: Course
    taught: tuple[Taught, ...]
    dataset: Dataset
    trials: list[Candidate]
    spec: Spec
    teach: Callable[[Course], tuple[Taught, ...]]
    start: dict[str, Tensor]
    offset: int = 0

    @property
    def splits(self) -> tuple[Tensor, Tensor]:
        """(training rows, validation rows)."""
        splits = self.dataset.splits
        return splits["train"], splits.get("validation", torch.empty(0, dtype=torch.int64))

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages, as far as epochs of the training split tell."""
        stage, first = self.main(self.course, self.taught), self.probe()
        trials = len(self.trials) * (folds_of(self.spec) or 1)
        controls = len(self.trials) if self.trials and self.course.control else 0
        probe = first.schooling().steps if first is not None else 0
        singles = len(labelled_tasks(self.taught, stage.train)) if self.course.baselines else 0
        runs = trials + controls + self.course.repeats * (stage.runs + singles)
        return probe + stage.schooling().steps * runs

    def probe(self) -> Stage | None:
        """The first run that measures what tasks do to each other, where the student or its teachers go by that."""
        if self.course.probe is None:
            return None
        train, validation = self.splits
        training = self.course.spec.training
        stage = self.main(self.course, self.taught)
        steps = max(1, ceil(self.course.probe.probe * stage.schooling().steps))
        training = training.model_copy(update={"steps": steps, "epochs": None, "early_stopping": None})
        spec = self.course.spec.model_copy(update={"training": training})
        course = replace(self.course, spec=spec)
        return Stage("relation", course, self.taught, train, validation, self.start, sources=self.dataset.sources)

    def after(self, probed: StageResult) -> "Plan":
        """The plan as if the job had given the relation that its first run measured."""
        assert probed.measured is not None
        return self.given(tuple(tuple(row) for row in probed.measured["estimate"]))

    def given(self, matrix: Matrix) -> "Plan":
        """The plan behind a first run that has measured `matrix`."""
        first = self.probe()
        assert first is not None
        spec = related(self.spec, matrix)
        trials = [replace(trial, spec=related(trial.spec, matrix)) for trial in self.trials]
        course = course_of(trials[0].spec if trials else spec)
        return replace(
            self,
            course=course,
            taught=self.teach(course),
            trials=trials,
            spec=spec,
            offset=first.schooling().steps,
        )

    def main(self, course: Course, taught: tuple[Taught, ...]) -> Stage:
        """The stage of the job's own student."""
        train, validation = self.splits
        control = course.control and not self.trials
        return Stage(
            "",
            course,
            taught,
            train,
            validation,
            self.start,
            control=control,
            offset=self.offset,
            sources=self.dataset.sources,
        )

    def main_of(self, winner: Candidate) -> Stage:
        """The same for the winner of a search: trained again, as if the job had named its values."""
        course = course_of(winner.spec)
        return self.main(course, self.teach(course))

    def repeats(self, main: Stage) -> list[Stage]:
        """The further seeds."""
        found = []
        for i in range(1, main.course.repeats):
            course = _seeded(main.course, main.training.seed + i)
            stage = replace(main, name=f"repeat-{i}", course=course, taught=self.teach(course))
            stage = replace(stage, control=course.control)
            found.append(replace(stage, offset=self.offset + i * stage.runs * stage.schooling().steps))
        return found

    def judges(self) -> Sequence[tuple[Tensor, Tensor]]:
        """(training rows, validation rows) of each judgement of the candidates: the splits, or the folds."""
        train, validation = self.splits
        count = folds_of(self.spec)
        if count is None:
            return [(train, validation)]
        return folds(torch.cat([train, validation]).sort().values, count, self.course.spec.training.seed)

    def candidates(self, name: str, train: Tensor, validation: Tensor) -> list[Stage]:
        """A stage for each candidate of a search, without controls."""
        stages = []
        for i, candidate in enumerate(self.trials):
            course = course_of(candidate.spec)
            taught = self.teach(course)
            stages.append(
                Stage(f"{name}-{i}", course, taught, train, validation, self.start, sources=self.dataset.sources)
            )
        return stages

    def controls(self) -> Iterator[Stage]:
        """As many trials as the student has: over its learning rates where they are searched, else over seeds. One
        after the other, as each holds columns on the device.
        """
        train, validation = self.splits
        for i, candidate in enumerate(self.trials if self.course.control else ()):
            course = course_of(candidate.spec)
            if not searches_rate(self.spec):
                course = _seeded(course, course.spec.training.seed + i)
            taught = self.teach(course)
            yield Stage(
                f"control-{i}",
                course,
                taught,
                train,
                validation,
                student=False,
                control=True,
                sources=self.dataset.sources,
            )


def related(spec: Spec, matrix: Matrix) -> Spec:
    """The spec with the relation that was measured."""
    assert isinstance(spec, MultitaskJob)
    return with_estimate(spec, matrix)


def _seeded(course: Course, seed: int) -> Course:
    training = course.spec.training.model_copy(update={"seed": seed})
    return replace(course, spec=course.spec.model_copy(update={"training": training}))
