"""Which jobs have a network that answers for each token."""

from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import AnyTrainingJob, MultitaskJob


def answers_tokens(spec: AnyTrainingJob, dataset: DatasetFacts | None) -> bool:
    """Whether the network of a job answers for each token: that of a single task on labels of tokens."""
    if dataset is None or isinstance(spec, MultitaskJob):
        return False
    named = [name for name, target in dataset.targets.items() if target.kind != "teacher"]
    target = spec.target or (named[0] if len(named) == 1 else "")
    return target in dataset.targets and dataset.targets[target].kind == "token_class"
