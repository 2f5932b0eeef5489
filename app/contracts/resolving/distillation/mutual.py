"""Do the peers of mutual learning fit the task and the rest of the job."""

from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.students.students import fitted
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import DistillJob, MutualSpec


def check_mutual(spec: DistillJob, goal: Goal, findings: Findings) -> None:
    """Problems of peers with the task, and with settings that they do not allow."""
    if spec.mutual is None:
        return
    if goal.kind != "class":
        findings.problem(
            "/mutual",
            "method_undefined",
            f"peers compare classes, and `{goal.name}` is a {goal.kind} task: leave `mutual` out",
        )
    if spec.training.early_stopping is not None:
        findings.problem(
            "/training/early_stopping", "not_with_mutual", "peers need each other to the end: leave early stopping out"
        )
    for i, peer in enumerate(spec.mutual.peers):
        if peer.inputs is not None and peer.inputs != spec.student.inputs:
            findings.problem(
                f"/mutual/peers/{i}/inputs", "not_with_mutual", "peers read what the student reads: leave it out here"
            )
    terms = (*(spec.distillation.soft_targets or ()), *(spec.distillation.features or ()))
    if spec.training.micro_batch_size is not None and any(term.relational for term in terms):
        findings.problem(
            "/training/micro_batch_size",
            "not_with_mutual",
            "terms that compare the rows of a batch, beside peers, need whole batches: leave `micro_batch_size` out",
        )


def fitted_peers(
    mutual: MutualSpec | None,
    read: tuple[str, ...] | None,
    dataset: DatasetFacts,
    goal: Goal,
    findings: Findings,
) -> MutualSpec | None:
    """The peers, each completed for the dataset and the task."""
    if mutual is None:
        return None
    places = enumerate(mutual.peers)
    peers = tuple(
        fitted(peer.model_copy(update={"inputs": read}), dataset, [goal], findings, f"/mutual/peers/{i}").model_copy(
            update={"inputs": None}
        )
        for i, peer in places
    )
    return mutual.model_copy(update={"peers": peers})
