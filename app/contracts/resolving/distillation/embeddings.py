"""Students without a classifier: encoders that learn the vectors of a teacher."""

from collections.abc import Mapping

from app.contracts.resolving.data.targets import goal_of
from app.contracts.resolving.distillation.classes import output_of
from app.contracts.resolving.distillation.teachers import facts_of_teacher
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.manifests import VectorOutput
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob


def check_embedding(
    spec: AnyTrainingJob, dataset: DatasetFacts, models: Mapping[str, ModelFacts | None], findings: Findings
) -> None:
    """Problems of a student with `embedding`: what it learns must be a teacher's vector, in the teacher's own units."""
    network, place = spec.network, f"/{spec.network_field}/embedding"
    if not isinstance(network, HuggingFace) or network.embedding is None:
        return
    if not isinstance(spec, DistillJob) or (spec.target is not None and goal_of(dataset, spec.target) is not None):
        findings.problem(
            place,
            "embedding_undefined",
            "an encoder has the vectors of a teacher, in their own units, and labels are classes, or numbers that are "
            "standardised: leave `embedding` out, or use a job of kind `distill` without such a target",
        )
        return
    if spec.quantization is not None:
        detail = "training with rounded weights is not there for encoders: leave it out, or `embedding`"
        findings.problem("/quantization", "embedding_undefined", detail)
    for i, ref in enumerate(spec.teachers or ()):
        output = output_of(ref, facts_of_teacher(ref, dataset, models))
        if output is None:
            findings.unknown()
        elif not isinstance(output.spec, VectorOutput) or output.spec.mean is not None:
            findings.problem(
                f"/teachers/{i}",
                "embedding_undefined",
                f"an encoder learns a `vector` without `mean` and `std`, found an output of kind {output.spec.kind}: "
                "leave `embedding` of the student out, or name another teacher",
            )
    _check_head(spec, network, findings)


def _check_head(spec: DistillJob, network: HuggingFace, findings: Findings) -> None:
    """A linear layer to another width learns from the teacher's output alone: terms on layers do not reach it."""
    terms = spec.distillation.soft_targets or ()
    learns = any(term.weight is not None and term.share > 0.0 for term in terms)
    sizes = dict(network.outputs or {})
    if network.measured is None or learns or set(sizes.values()) <= {network.measured.features}:
        return
    findings.problem(
        "/distillation/soft_targets",
        "embedding_undefined",
        f"terms on layers do not train the linear layer from {network.measured.features} numbers to those of the "
        f"teacher, {max(sizes.values())}: add a soft target such as `cosine`, or give the student the teacher's width",
    )
