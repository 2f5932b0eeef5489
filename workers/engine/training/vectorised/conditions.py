"""Which learners can train as one vectorised step, and where that is faster than one after another."""

from collections.abc import Sequence

from app.contracts.layouts.summary import flops
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.training import PlateauSchedule, TrainingSettings
from workers.engine.losses.soft_target_losses import ClassSoftTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.term import Term
from workers.engine.models import Network
from workers.engine.tasks.task import Task

MOST_MLP_FLOPS = 28e6
"""Floating-point operations of the forward pass of a batch of one member, for batched matrix products."""
MOST_MAPPED_FLOPS = 4e6
"""The same for networks that `vmap` maps, whose convolutions gain least."""


def can_train_together(
    tasks: Sequence[Task], networks: Sequence[Network], trainings: Sequence[TrainingSettings]
) -> bool:
    """Whether candidates differ in temperatures and loss weights only, without BatchNorm, dropout or augmentation."""
    same = all(training == trainings[0] for training in trainings)
    return same and _is_plain(trainings[0]) and is_stateless(networks[0]) and all(_is_simple(task) for task in tasks)


def can_train_seeds_together(task: Task, network: Network, trainings: Sequence[TrainingSettings]) -> bool:
    """Whether learners of one task whose settings differ in their seed only can: with terms that are functions of a
    row's outputs alone, and without BatchNorm, dropout or augmentation.
    """
    first = trainings[0]
    same = all(training.model_copy(update={"seed": first.seed}) == first for training in trainings)
    pure = all(not term.relational and term.module is None and not term.taps for term in task.terms)
    return same and _is_plain(first) and is_stateless(network) and pure and not task.weight_schedules


def _is_plain(training: TrainingSettings) -> bool:
    """The schedule `plateau` gives each member a learning rate of its own, and one optimizer has one; early stopping
    would end members at different steps; quantization and gradient checkpointing replace the forward pass of layers;
    frozen layers and those with rates of their own are known by module, and vectorised ones have no modules.
    """
    return (
        training.micro_batch_size is None
        and training.early_stopping is None
        and not isinstance(training.schedule, PlateauSchedule)
        and training.augmentations is None
        and training.precision == "float32"
        and training.quantization is None
        and training.frozen is None
        and training.layer_decay is None
        and training.gradient_checkpointing is None
    )


def is_stateless(network: Network) -> bool:
    """Whether outputs are functions of weights and rows: no BatchNorm, no dropout, no buffers."""
    return not network.draws_noise and not network.has_batch_norm and not list(network.buffers())


def _is_simple(task: Task) -> bool:
    """Class targets, constant temperatures and weights, additive terms without trained modules."""
    return (
        task.spec.kind == "class"
        and not task.weight_schedules
        and all(
            isinstance(term, SupervisedLoss)
            or (
                isinstance(term, ClassSoftTargets)
                and term.module is None
                and not term.relational
                and fixed_temperature(term) is not None
            )
            for term in task.terms
        )
    )


def fixed_temperature(term: Term) -> float | None:
    """The temperature of a term where it is one number throughout."""
    if not isinstance(term, ClassSoftTargets):
        return 1.0
    first, last = term.temperature(0.0), term.temperature(1.0)
    return first if isinstance(first, float | int) and first == last else None


def is_faster(architecture: Architecture, rows: int) -> bool:
    """Whether several seeds train faster as one step than one after another, in batches of so many rows: where the
    dispatch of operations takes longer than their arithmetic (decision record 0113 has the measurements).
    """
    most = MOST_MLP_FLOPS if architecture.family == "mlp" else MOST_MAPPED_FLOPS
    return flops(architecture) * rows <= most
