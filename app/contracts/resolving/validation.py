"""Settings of a job whose dataset has no validation split."""

from app.contracts.resolving.distillation.searches import folds_of
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import AnyTrainingJob
from app.contracts.specs.training import PlateauSchedule, TrainingSpec


def with_validation(spec: AnyTrainingJob, dataset: DatasetFacts | None, findings: Findings) -> TrainingSpec:
    """The settings of a job with the last epoch chosen where none can be compared; what needs a split is a problem."""
    training = spec.training
    update: dict[str, object] = {}
    if dataset is not None and not dataset.splits.get("validation"):
        if training.early_stopping is not None:
            findings.problem(
                "/training/early_stopping",
                "validation_needed",
                "early stopping looks at the validation split, and the dataset has none: leave it out, or give one",
            )
        if isinstance(training.schedule, PlateauSchedule):
            findings.problem(
                "/training/schedule",
                "validation_needed",
                "`plateau` follows the score on the validation split, and the dataset has none: give one, or use "
                "another schedule",
            )
        if training.select_by != "last":
            by_folds = training.select_by == "loss" and folds_of(spec) is not None
            if training.selection_metric is None and not by_folds:  # the others are those of the folds of a search
                update["select_by"] = "last"
            findings.warn(
                "no_validation",
                "without a validation split the last epoch's weights are exported: give the dataset one",
            )
    return training.model_copy(update=update)
