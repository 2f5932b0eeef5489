"""Predictions of a job's teachers, as targets of kind `teacher` of the datasets whose rows they are for."""

from collections.abc import Mapping, Sequence

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import AnyTrainingJob
from app.contracts.specs.stores import predicted_target

Facts = Mapping[str, DatasetFacts | None]


def with_predictions(spec: AnyTrainingJob, datasets: Facts, findings: Findings) -> Facts:
    """The facts of the job's datasets with the outputs of its predictions, each under the name of its `stored_as`.

    Predictions complete a dataset: while some are not inspected, no dataset of the job is known.
    """
    rows = [ref.dataset for ref in spec.dataset_refs()]
    for i, identity in enumerate(rows):
        if (facts := datasets.get(identity)) is not None and facts.of is not None:
            findings.problem(
                "/dataset" if spec.dataset is not None else f"/datasets/{i}",
                "not_a_dataset",
                f"expected a dataset with inputs, found predictions for rows of {facts.of}: name that one here, and "
                f'{identity} as a teacher, `{{"predictions": "{identity}"}}`',
            )
            datasets = {**datasets, identity: None}
    named = {ref.predictions: pointer for pointer, ref in spec.teacher_refs() if ref.predictions is not None}
    if any(datasets.get(identity) is None for identity in named):
        return dict.fromkeys(datasets)
    for identity, pointer in named.items():
        datasets = _joined(identity, f"{pointer}/predictions", rows, datasets, findings)
    return datasets


def _joined(identity: str, pointer: str, rows: Sequence[str], datasets: Facts, findings: Findings) -> Facts:
    """The facts with one file of predictions joined to its dataset; a problem where the job does not read that one."""
    predictions = datasets[identity]
    assert predictions is not None
    if predictions.of is None:
        findings.problem(
            pointer,
            "not_predictions",
            "expected predictions, found a dataset of rows: upload the teacher's outputs with "
            '`"format": "predictions"`, or name a target of the dataset by `columns`',
        )
        return datasets
    if predictions.of not in rows:
        findings.problem(
            pointer,
            "predictions_of_another",
            f"expected predictions for a dataset of this job, found those for rows of {predictions.of}: train on that "
            "one, or upload the file again with this dataset in `of`",
        )
        return datasets
    facts = datasets[predictions.of]
    if facts is None:
        return datasets
    outputs = {predicted_target(identity, name): target for name, target in predictions.targets.items()}
    return {**datasets, predictions.of: facts.model_copy(update={"targets": {**facts.targets, **outputs}})}


def predicted_outputs(identity: str, dataset: DatasetFacts) -> list[str]:
    """The outputs of predictions that a dataset was joined with."""
    prefix = predicted_target(identity, "")
    return [name.removeprefix(prefix) for name in dataset.targets if name.startswith(prefix)]
