"""Rows that a student reads as the model does that it starts from."""

from collections.abc import Mapping

from app.contracts.resolving.data.inputs import student_inputs
from app.contracts.resources.manifests import InputTransform
from app.contracts.wire.orders import Order


def transforms_of_job(
    transforms: Mapping[str, InputTransform], shapes: Mapping[str, tuple[int, ...]], order: Order
) -> Mapping[str, InputTransform]:
    """The transforms of a job's inputs, of a dataset's by name; `shapes` are those of one row. Where the job's network
    says `transform: "pretrained"`, the input that it reads has the scale, mean and deviation of the model that the
    network starts from. Teachers have transforms of their own.
    """
    job = order.training_job
    network = job.network if job is not None else None
    if network is None or network.transform is None:
        return transforms
    (name, *_), _, _ = student_inputs(network.inputs, shapes)
    facts = order.models[network.pretrained or ""].facts
    assert facts is not None
    return {**transforms, name: _as(facts.inputs, transforms[name])}


def _as(inputs: Mapping[str, InputTransform], own: InputTransform) -> InputTransform:
    """`own` with the numbers of a model's only transform."""
    model = next(iter(inputs.values()), InputTransform())
    return own.model_copy(update={"scale": model.scale, "mean": model.mean, "std": model.std})
