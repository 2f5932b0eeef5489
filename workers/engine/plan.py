"""The stages of a job, in order: candidates of a search, their controls, the job's own, further seeds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.engine.data.dataset import Dataset
from workers.engine.recipes import Course, Spec, Taught, course_of
from workers.engine.search import Candidate, folds, folds_of, searches_rate
from workers.engine.stages import Stage


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
        stage = self.main(self.course, self.taught)
        trials = len(self.trials) * (folds_of(self.spec) or 1)
        controls = len(self.trials) if self.trials and self.course.control else 0
        return stage.schooling().steps * (trials + controls + self.course.repeats * stage.runs)

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


def _seeded(course: Course, seed: int) -> Course:
    training = course.spec.training.model_copy(update={"seed": seed})
    return replace(course, spec=course.spec.model_copy(update={"training": training}))
