"""The settings of training that a spec leaves out.

The rules were chosen on half of 14 tasks and confirmed on the others with fresh seeds, for networks of up to 100,000
parameters trained by adamw, and rates of larger mlps on three of them; `tests/benchmarks/accuracy/defaults` measures
them against a grid. Rules for sgd and adam are common practice and were not measured.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import assert_never

from app.contracts.base import Contract
from app.contracts.layouts.summary import flops, layer_table, parameter_count
from app.contracts.resolving.findings import Findings
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.training import CosineSchedule, PlateauSchedule, RecipeName, TrainingSpec

BATCH = 64
EPOCHS = 20
LEAST_STEPS = 1500
LENGTHS: dict[RecipeName, float] = {"fast": 1 / 3, "default": 1.0, "best": 3.0}
"""Steps of each recipe relative to the default."""
MOST_FLOPS = 5e15
"""Floating-point operations of training, three forward passes a step, above which steps are left out."""
RATE = 2e-2
CAREFUL_RATE = 1e-2
FULL_RATE_PARAMETERS = 25_000
"""Parameters above which the rate falls, with the square root of their number."""
FINE_TUNING = 0.5
"""The rate of a student that starts from layers of a teacher, relative to that of random weights."""
DEEP = 4
"""Weight layers above which a network without normalisation is trained with a lower rate."""
WARMUP = 0.1
EVALUATIONS = 20
LITTLE_DECAY = 1e-2
DECAY_BY_RATE = 3e-3
"""Weight decay times learning rate where rows are seen many times."""
FEW_PASSES, MANY_PASSES = 5.0, 20.0
"""Passes over the rows up to which decay is little, and from which on it is full. Fewer than 20 were not measured."""


@dataclass(frozen=True)
class Subject:
    """What is trained: a resolved network, on so many rows. `is_begun`: whether it starts from layers of a teacher."""

    network: Architecture
    rows: int
    is_begun: bool = False


def with_recipe(training: TrainingSpec, subject: Subject, findings: Findings) -> TrainingSpec:
    """The settings with everything chosen that was left out; each choice goes to `findings`."""
    return _Recipe(training, subject, findings).filled()


class _Recipe:
    """One use of the recipe; fields are chosen in an order in which each depends on earlier ones."""

    def __init__(self, training: TrainingSpec, subject: Subject, findings: Findings) -> None:
        self._training = training
        self._subject = subject
        self._findings = findings

    def filled(self) -> TrainingSpec:
        if self._training.batch_size is None:
            self._choose("batch_size", *self._batch_size())
        if self._training.steps is None and self._training.epochs is None:
            self._choose("steps", *self._steps_and_reason())
        if self._training.learning_rate is None:
            self._choose("learning_rate", *self._rate())
        if self._training.weight_decay is None:
            self._choose("weight_decay", *self._decay())
        if self._training.schedule is None:
            because = "a rate that ends at 0 lets the last steps settle: better than a constant one on all tasks tried"
            self._choose("schedule", CosineSchedule(kind="cosine"), because)
        if self._training.warmup is None:
            self._choose("warmup", *self._warmup())
        if self._training.clip_norm is None:
            self._choose("clip_norm", 1.0, "keeps a step on an unusual batch from undoing earlier ones")
        if self._training.evaluate_every is None:
            self._choose("evaluate_every", *self._evaluate_every())
        return self._training

    def _choose(self, field: str, value: float | Contract, because: str) -> None:
        self._training = self._training.model_copy(update={field: value})
        self._findings.choose(f"/training/{field}", value, because)

    @property
    def _batch(self) -> int:
        return self._training.batch_size or BATCH

    @property
    def _batches(self) -> int:
        """Batches of an epoch."""
        return max(1, -(-self._subject.rows // self._batch))

    @property
    def _steps(self) -> int:
        return self._training.steps or (self._training.epochs or 1) * self._batches

    @property
    def _passes(self) -> float:
        return passes(self._training, self._subject.rows)

    def _batch_size(self) -> tuple[int, str]:
        least = self._training.micro_batch_size or 1
        size = max(min(BATCH, self._subject.rows), least, 1)
        if size == BATCH:
            return size, "a usual size, which small networks learn well with"
        if size == least:
            return size, "a whole micro-batch"
        return size, f"the {self._subject.rows} training rows at once"

    def _steps_and_reason(self) -> tuple[int, str]:
        length, rows = LENGTHS[self._training.recipe], self._subject.rows
        passes, least = EPOCHS * self._batches, round(LEAST_STEPS * length)
        steps = max(round(passes * length), least, 1)
        reason = (
            f"{EPOCHS} passes over {rows} rows"
            if passes >= LEAST_STEPS
            else f"at least {LEAST_STEPS}: {EPOCHS} passes over {rows} rows are {passes} steps, too few to learn from"
        )
        each = 3.0 * flops(self._subject.network) * self._batch
        affordable = int(MOST_FLOPS * length / each) if each > 0 else steps
        if affordable < steps:
            steps = max(affordable, min(max(least, self._batches), steps))
            reason = f"{MOST_FLOPS:.0e} floating-point operations at most"
        if length != 1.0:
            reason += f"; `{self._training.recipe}` takes {length:.2g} times the steps of `default`, and the time"
        return steps, reason

    def _rate(self) -> tuple[float, str]:
        match self._training.optimizer:
            case "sgd":
                return 0.05, "a usual rate of sgd with momentum"
            case "adam" | "adamw" if self._subject.is_begun:
                rate, because = self._adam_rate()
                return FINE_TUNING * rate, f"{because}; {FINE_TUNING:g} of it, as large steps undo a teacher's layers"
            case "adam" | "adamw":
                return self._adam_rate()
            case _:
                assert_never(self._training.optimizer)

    def _adam_rate(self) -> tuple[float, str]:
        network = self._subject.network
        depth, count = layer_table(network).depth, parameter_count(network)
        rate, because = RATE, "the best fixed rate for small networks with warm-up and a schedule that ends at 0"
        if network.family == "transformer" or network.reads == "tokens":
            rate, because = CAREFUL_RATE, f"transformers want a lower rate than {RATE}"
        elif depth > DEEP and not layer_table(network).is_normalized:
            rate, because = CAREFUL_RATE, f"{depth} weight layers without normalisation want a lower rate than {RATE}"
        by_size = float(f"{RATE * sqrt(FULL_RATE_PARAMETERS / max(count, 1)):.2g}")
        if by_size < rate:
            return by_size, f"{count:,} parameters: the more, the lower, as 1 over the square root of their number"
        return rate, because

    def _decay(self) -> tuple[float, str]:
        match self._training.optimizer:
            case "sgd":
                return 5e-4, "a usual L2 term of sgd"
            case "adam":
                return 0.0, "an L2 term does not suit adam: choose `adamw` for decay"
            case "adamw":
                return self._adamw_decay()
            case _:
                assert_never(self._training.optimizer)

    def _adamw_decay(self) -> tuple[float, str]:
        """From LITTLE_DECAY up to DECAY_BY_RATE / rate, evenly in the logarithms of decay and passes."""
        rate = self._training.learning_rate
        number = rate if isinstance(rate, float) else RATE
        most = max(LITTLE_DECAY, min(0.3, DECAY_BY_RATE / number))
        share = log(max(self._passes, 1e-9) / FEW_PASSES) / log(MANY_PASSES / FEW_PASSES)
        share = min(1.0, max(0.0, share))
        decay = float(f"{LITTLE_DECAY * (most / LITTLE_DECAY) ** share:.2g}")
        return decay, f"each row is seen {self._passes:.3g} times: the more often, the more a network memorises"

    def _warmup(self) -> tuple[int, str]:
        if isinstance(self._training.schedule, CosineSchedule):
            return round(
                WARMUP * self._steps
            ), f"{WARMUP:.0%} of {self._steps} steps, until the optimizer's means settle"
        return 0, "the schedule was given, and no warm-up with it"

    def _evaluate_every(self) -> tuple[int, str]:
        epochs = -(-self._steps // self._batches)
        if self._training.early_stopping is not None or isinstance(self._training.schedule, PlateauSchedule):
            return 1, "early stopping and `plateau` follow the score of every epoch"
        every = max(1, epochs // EVALUATIONS)
        return every, f"about {EVALUATIONS} evaluations in {epochs} epochs"


def passes(training: TrainingSpec, rows: int) -> float:
    """How many times each of so many training rows is seen, for settings with a length and a batch size."""
    batch = training.batch_size or BATCH
    steps = training.steps or (training.epochs or 1) * max(1, -(-rows // batch))
    return steps * batch / max(1, rows)


def is_complete(training: TrainingSpec) -> bool:
    """Whether nothing is left to choose."""
    has_length = training.steps is not None or training.epochs is not None
    return has_length and all(getattr(training, name) is not None for name in TrainingSpec.chosen_by_recipe)
