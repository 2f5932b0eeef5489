"""Soft targets, loss terms and learners without a job, and formulas written out in numpy's float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, OutputSpec
from app.contracts.specs.architectures import Mlp
from app.contracts.specs.distillation import KdTerm, MseTerm
from tests.engine.plain_training import plain_settings
from workers.engine.balancing.fixed import Fixed
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.rows.columns import Rows
from workers.engine.losses.regression_losses import NumberTargets
from workers.engine.losses.soft_target_losses import ClassSoftTargets, LabelSoftTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.teacher_mix import TeacherEnsemble, TeacherOutputs
from workers.engine.losses.term import Term
from workers.engine.models import Network, build, initialise
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts, MicroBatch
from workers.engine.training.learner import Learner

CPU = torch.device("cpu")
LOGITS = ClassOutput(kind="class")
Floats = NDArray[np.float64]


def scores(rows: int, size: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    """Random numbers [rows, size] in float64."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, size)) * spread)


def softmax(z: Any) -> Floats:
    """Softmax of each row."""
    powers = np.exp(np.asarray(z, np.float64) - np.max(np.asarray(z, np.float64), axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def sigmoid(z: Any) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(z, np.float64))))


def places(rows: int | Sequence[int]) -> Rows:
    """The first `rows` rows of a dataset, or the rows of these numbers."""
    return Rows.on(CPU, torch.arange(rows) if isinstance(rows, int) else torch.tensor(rows))


def kd_term(
    *outputs: Tensor,
    specs: Sequence[OutputSpec] | None = None,
    weights: Sequence[float] | None = None,
    tau: float = 4.0,
    weight: float = 1.0,
) -> ClassSoftTargets | LabelSoftTargets:
    """The term `kd` for the outputs of several teachers (by default logits, of equal weight)."""
    each = zip(outputs, specs or [LOGITS] * len(outputs), weights or [1.0] * len(outputs), strict=True)
    ensemble = TeacherEnsemble.of(tuple(TeacherOutputs(*one) for one in each), CPU)
    term = KdTerm(method="kd", temperature=tau, weight=weight)
    if ensemble.specs[0].kind == "multilabel":
        return LabelSoftTargets.of(term, "kd", ensemble)
    return ClassSoftTargets.of(term, "kd", ensemble, None, CPU)


def numbers_term(all_outputs: tuple[TeacherOutputs, ...], spec: OutputSpec) -> NumberTargets:
    """The term `mse` of weight 1."""
    return NumberTargets.of(MseTerm(method="mse", weight=1.0), "mse", all_outputs, spec, None, CPU)


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    """The derivative of `loss` by `at`."""
    (found,) = torch.autograd.grad(loss, at)
    return found


def class_target(labels: Sequence[int], size: int) -> TargetColumn:
    values = torch.tensor(labels)
    return TargetColumn("class", size, values, values >= 0)


def supervised(target: TargetColumn, spec: OutputSpec = LOGITS, weight: float = 1.0) -> SupervisedLoss:
    return SupervisedLoss.of(target, spec, weight, 0.0, CPU)


def task_of(*terms: Term, spec: OutputSpec = LOGITS) -> Task:
    return Task("label", spec, None, 1.0, terms)


def mlp(inputs: int, outputs: int, seed: int = 0, **changes: Any) -> Network:
    """A small network with weights of its seed."""
    shape: dict[str, Any] = {"input_shape": (inputs,), "outputs": {"label": outputs}, "hidden": (7,)}
    network = build(Mlp(family="mlp", **{**shape, **changes}))
    initialise(network, seed)
    return network


def member_of(network: Network, task: Task, **training: Any) -> Learner:
    return Learner("student", network, [task], Fixed([1.0]), plain_settings(**training), 100, CPU)


def counts_of(task: Task, batch: Rows) -> Counts:
    return [[int(term.counted[batch.host].sum()) for term in task.terms]]


def gradients(learner: Learner, x: Tensor, batch: Rows, micro: int) -> dict[str, Tensor]:
    """The gradient of each parameter after a batch in micro-batches of `micro` rows."""
    counts = counts_of(learner.tasks[0], batch)
    learner.begin_step(counts, 0)
    for place, part in enumerate(batch.split(micro)):
        learner.backward(learner.forward(MicroBatch(x[part.host], part, (0, place))), part, counts)
    named = learner.network.named_parameters()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named}
