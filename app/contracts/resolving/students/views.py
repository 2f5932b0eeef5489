"""Do the augmentations fit a student of texts, and do its teachers read the tokens that they change?"""

from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.students.texts import Models, encoding_of
from app.contracts.resources.facts import DatasetFacts
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.specs.jobs import AnyTrainingJob
from app.contracts.specs.views import WordDropoutView


def check_views_of_tokens(
    spec: AnyTrainingJob, dataset: DatasetFacts | None, models: Models, findings: Findings
) -> None:
    """Problems for augmentations of a student that reads tokens; `spec` is resolved."""
    views = spec.training.augmentations
    if views is None or spec.network.reads != "tokens":
        return
    own = _tokens_read(spec, dataset, models) if dataset is not None else None
    for place, transform in enumerate(views.transforms):
        if isinstance(transform, WordDropoutView):
            wrong = _wrong_ids(transform, own)
        else:
            wrong = {"": _no_quantities(transform.kind)}
        for field, reason in wrong.items():
            findings.problem(f"/training/views/transforms/{place}{field}", "view_undefined", reason)
    if own is not None and any(transform.rows == "tokens" for transform in views.transforms):
        _check_teachers(spec, own, models, findings)


def _tokens_read(spec: AnyTrainingJob, dataset: DatasetFacts, models: Models) -> TokenEncoding | None:
    """The tokens of the job's rows: with a tokenizer of its own a student says how long they are."""
    found, shape = encoding_of(spec.network, dataset, models), spec.network.input_shape
    if found is None or shape is None or spec.network.tokenizer_model is None:
        return found
    return found.model_copy(update={"length": shape[0]})


def _no_quantities(kind: str) -> str:
    return f"`{kind}` changes numbers, and the student reads tokens, which are no quantities: use `word_dropout`"


def _wrong_ids(view: WordDropoutView, own: TokenEncoding | None) -> dict[str, str]:
    """What is wrong with the ids of a view, by the pointer below it; empty where that is not known."""
    if own is None:
        return {}
    named = {"/token": view.token, **{f"/keep/{i}": each for i, each in enumerate(view.keep)}}
    wrong = {
        field: f"ids are below {own.vocabulary}, found {each}: name ids of the student's tokens"
        for field, each in named.items()
        if each is not None and each >= own.vocabulary
    }
    if view.token is None and own.ids:
        wrong[""] = "rows of ids have no mask token, found no `token`: give the id that replaces others"
    if view.token == own.padding:
        wrong["/token"] = f"`token` is {view.token}, the padding, which is no token: name another"
    return wrong


def _check_teachers(spec: AnyTrainingJob, own: TokenEncoding, models: Models, findings: Findings) -> None:
    """A teacher answers for the row as the student sees it: a token that is replaced must be one of its own."""
    for pointer, ref in spec.teacher_refs():
        facts = models.get(ref.model or ref.job or "")
        if ref.stored_as is not None or facts is None or tokens_of(facts) == own:
            continue
        findings.problem(
            pointer,
            "view_undefined",
            "teachers see the rows as they are augmented, and this one does not read the tokens that the student "
            "reads: give the student its `tokenizer`, with rows as long, or leave `views` out",
        )
