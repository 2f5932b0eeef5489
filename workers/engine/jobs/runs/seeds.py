"""The runs of a job's seeds: a student and a control of each, more while their difference is undecided.

With `repeats: "auto"` the job begins with `FIRST_SEEDS`. If the difference on validation rows is undecided, it goes on
to `MOST_SEEDS` students and `MOST_CONTROLS` controls, or as many as are affordable: the test split is used once, at the
end. Students of several seeds train as one vectorised step where that is faster, and so do controls. Controls of
further seeds that earlier jobs of the same recipe left in the cache are counted in any case. Reasons and rates:
`tests/architecture/decisions/engine/0122-repeats-while-undecided.md`.

Where the weights of the students depend on whether a teacher is weaker than the controls, the controls of the first
seeds are trained before the students, or, where both train at once, beside students with the usual weights, which are
trained again if a teacher is weaker.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from workers.engine.jobs.runs.affordable import MOST_CONTROLS, most_networks
from workers.engine.jobs.runs.decisions import Decisions
from workers.engine.jobs.runs.results import RunResult, TrainedModel
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner

IsUndecided = Callable[[Sequence[TrainedModel], Sequence[TrainedModel]], bool]
"""(students, controls) -> whether their difference on validation rows is undecided."""
RunOf = Callable[[int], Run]
ControlOf = Callable[[int], Run | None]


@dataclass(frozen=True)
class WeightsByControls:
    """How weights of the students are chosen once the controls of the first seeds are trained."""

    weaker: Callable[[Sequence[TrainedModel]], dict[str, str]]
    """Controls -> the tasks whose teachers are weaker, with the reason."""
    runs: Callable[[dict[str, str]], tuple[RunOf, ControlOf]]
    """The runs of seeds with the weights for such teachers."""


@dataclass
class Seeds:
    """The trained networks of a job's seeds, in the order of the seeds."""

    students: list[RunResult] = field(default_factory=list)
    controls: list[TrainedModel] = field(default_factory=list)
    """Those of the students' seeds, then those of further seeds."""
    results: list[RunResult] = field(default_factory=list)
    """The results of all runs."""


@dataclass
class Request:
    """A run to execute; its result is written here before the next request."""

    run: Run
    is_trial: bool = False
    """Whether a UserError of it does not end the job: its result is None then."""
    result: RunResult | None = None


@dataclass
class SeedRuns:
    """The runs of the seeds of a job, one after another, as each depends on what the earlier ones found.

    `run_of` gives the run of a seed by its index, the first of which is the main run; `control_of` that of its control
    by itself, None without one.
    """

    runner: Runner
    run_of: RunOf
    control_of: ControlOf
    is_undecided: IsUndecided
    decisions: Decisions
    weights: WeightsByControls | None = None
    """None where nothing depends on the controls: then a student and its control may train at the same time."""
    beside: bool = False
    """Whether they do so all the same, at the usual weights."""
    seeds: Seeds = field(default_factory=Seeds, init=False)
    """What has been trained so far."""
    weaker: dict[str, str] = field(default_factory=dict, init=False)
    """The tasks whose teachers were found weaker than the controls, with the reason."""
    offset: int = field(init=False)
    """Optimizer steps of the job before the next run."""

    def __post_init__(self) -> None:
        self.offset = self.run_of(0).offset

    def requests(self) -> Iterator[Request]:
        """The runs to execute. Those that train as one vectorised step are executed here. Raises Stopped, UserError."""
        run_spec = self.run_of(0).run_spec
        first = range(run_spec.repeats)
        if not self._is_auto:
            yield from self._apart(first) if self.weights is None else self._weighted(first, self.weights)
            return
        most, controls = most_networks(self.run_of(0)), self._cached_controls()
        yield from self._together(first) if self.weights is None else self._weighted(first, self.weights)
        if most.students > run_spec.repeats and self._goes_on():
            yield from self._together(range(run_spec.repeats, most.students))
            controls = max(controls, most.controls)
        if self.seeds.controls:
            yield from self._controls(range(len(self.seeds.students), controls))

    @property
    def _is_auto(self) -> bool:
        run_spec = self.run_of(0).run_spec
        return run_spec.most_repeats > run_spec.repeats

    def _run(self, run: Run) -> Generator[Request, None, RunResult]:
        request = Request(self._next(run))
        yield request
        assert request.result is not None
        self.seeds.results.append(request.result)
        return request.result

    def _tried(self, run: Run) -> Generator[Request, None, RunResult | None]:
        request = Request(self._next(run), is_trial=True)
        yield request
        if request.result is not None:
            self.seeds.results.append(request.result)
        return request.result

    def _population(self, name: str, runs: Sequence[Run]) -> list[RunResult] | None:
        """The results of runs that train as one step; None where they have to train one after another."""
        offset = self.offset
        results = self.runner.run_population(name, [self._next(run) for run in runs])
        if results is None:
            self.offset = offset
            return None
        self.seeds.results += results
        return results

    def _next(self, run: Run) -> Run:
        """The run, after the steps of those before it."""
        placed = replace(run, offset=self.offset)
        self.offset += run.schedule().steps
        return placed

    def _weighted(self, seeds: range, weights: WeightsByControls) -> Iterator[Request]:
        """All controls, and all students with the weights that follow from them."""
        if self.beside:
            yield from self._beside_controls(seeds, weights)
        else:
            yield from self._after_controls(seeds, weights)

    def _choose(self, weights: WeightsByControls) -> None:
        self.weaker = self.decisions.once("weaker", lambda: weights.weaker(self.seeds.controls))
        self.run_of, self.control_of = weights.runs(self.weaker)

    def _beside_controls(self, seeds: range, weights: WeightsByControls) -> Iterator[Request]:
        """Students beside their controls, at the usual weights, until the controls so far say that a teacher is weaker;
        then the other controls, and the students that are missing or have other weights.
        """
        usual: list[RunResult] = []
        for i in seeds:
            if usual and weights.weaker(self.seeds.controls):
                break
            result = yield from self._tried(self.run_of(i).beside_control)
            if result is None:  # at other weights it may succeed, and with less memory one after another
                yield from self._after_all(seeds, weights, trained=i + 1)
                return
            usual.append(result)
            self.seeds.controls.append(result.models["control"])
        rest = seeds[len(usual) :]
        again = len(usual) if rest else 0
        self._add_steps(len(rest) + again)
        yield from self._controls_alone(rest)
        self._choose(weights)
        self.seeds.students += [] if self.weaker else usual
        self._add_steps(len(usual) - len(self.seeds.students) - again)
        for i in seeds[len(self.seeds.students) :]:
            self.seeds.students.append((yield from self._run(replace(self.run_of(i), control=False))))

    def _after_all(self, seeds: range, weights: WeightsByControls, trained: int) -> Iterator[Request]:
        """Train the students after the controls, where `trained` runs of both have been in vain."""
        self.decisions.replace("beside", False)
        self._add_steps(trained + len(seeds))
        self.seeds.controls = []
        yield from self._after_controls(seeds, weights)

    def _add_steps(self, runs: int) -> None:
        """Count so many runs that were not planned, at once, so that progress falls once at most."""
        self.runner.steps += runs * self.run_of(0).schedule().steps

    def _after_controls(self, seeds: range, weights: WeightsByControls) -> Iterator[Request]:
        """All controls, then all students; each seed by itself where their number was given."""
        yield from self._controls(seeds) if self._is_auto else self._controls_alone(seeds)
        self._choose(weights)
        runs = [replace(self.run_of(i), control=False) for i in seeds]
        together = self._population(f"seeds-{seeds.start}", runs) if self._is_auto else None
        if together is not None:
            self.seeds.students += together
            return
        for run in runs:
            self.seeds.students.append((yield from self._run(run)))

    def _controls_alone(self, seeds: range) -> Iterator[Request]:
        for i in seeds:
            run = self.control_of(i)
            if run is not None:
                self.seeds.controls.append((yield from self._run(run)).models["control"])

    def _apart(self, seeds: range) -> Iterator[Request]:
        """One run of the loop for each seed, with student and control."""
        for i in seeds:
            for number, part in enumerate(self.run_of(i).parts):
                result = yield from self._run(part)
                if number == 0:
                    self.seeds.students.append(result)
                if "control" in result.models:
                    self.seeds.controls.append(result.models["control"])

    def _together(self, seeds: range) -> Iterator[Request]:
        """All students as one vectorised step, then all controls; one seed after another where that is not faster."""
        runs = [replace(self.run_of(i), control=False) for i in seeds]
        students = self._population(f"seeds-{seeds.start}", runs)
        if students is None:
            yield from self._apart(seeds)
            return
        self.seeds.students += students
        yield from self._controls(seeds)

    def _controls(self, seeds: range) -> Iterator[Request]:
        """The controls of these seeds alone, those of the cache without training."""
        runs = {i: run for i in seeds if (run := self.control_of(i)) is not None}
        missing = self.decisions.once(
            f"missing-{seeds.start}", lambda: [i for i in runs if not self._is_cached(runs[i])]
        )
        together = self._population(f"controls-{seeds.start}", [runs[i] for i in missing]) or []
        trained = {i: result.models["control"] for i, result in zip(missing, together, strict=False)}
        for i, run in runs.items():
            control = trained.get(i) or (None if i in missing else self._cached(run))
            if control is None:  # also where a cached one was removed meanwhile
                control = (yield from self._run(run)).models["control"]
            self.seeds.controls.append(control)

    def _cached(self, run: Run) -> TrainedModel | None:
        control = self.runner.cached_control(run)
        if control is not None:
            self._next(run)  # its steps count as done
        return control

    def _is_cached(self, run: Run) -> bool:
        return self.runner.cached_control(run) is not None

    def _cached_controls(self) -> int:
        """The number of seeds from the first on whose control earlier jobs left in the cache."""

        def count() -> int:
            runs = (self.control_of(i) for i in range(MOST_CONTROLS))
            return len(list(takewhile(lambda run: run is not None and self._is_cached(run), runs)))

        return self.decisions.once("cached", count)

    def _goes_on(self) -> bool:
        """Whether the difference is undecided after the first seeds."""
        students = [each.models["student"] for each in self.seeds.students]
        return self.decisions.once("undecided", lambda: self.is_undecided(students, self.seeds.controls))
