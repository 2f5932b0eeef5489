"""Do texts meet networks that read tokens, and numbers networks that read numbers?"""

from collections.abc import Mapping

from app.contracts.problems import Problem
from app.contracts.resolving.findings import quoted
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens


def tokens_of(model: ModelFacts) -> TokenEncoding | None:
    """How a model reads its text; None for a model of numbers."""
    return next((each.tokens for each in model.inputs.values() if each.tokens is not None), None)


def text_read(names: tuple[str, ...] | None, inputs: Mapping[str, InputFacts]) -> tuple[str, InputFacts] | Problem:
    """The one input of texts that a network reads; `names`: those that it selects, None for all."""
    texts = {name: inputs[name] for name in names or inputs if name in inputs and inputs[name].tokens is not None}
    others = [name for name in names or inputs if name not in texts]
    if len(texts) == 1 and not others:
        return next(iter(texts.items()))
    if not texts:
        detail = f"it reads texts, and the dataset has none among {quoted(inputs)}: use another network"
        return Problem(pointer="", code="input_mismatch", detail=f'{detail}, or an input of `"kind": "text"`')
    detail = f"it reads one input of texts, found {quoted([*texts, *others])}: name one, such as "
    return Problem(pointer="", code="input_mismatch", detail=f'{detail}`"inputs": ["{next(iter(texts))}"]`')


def texts_unread(names: tuple[str, ...], inputs: Mapping[str, InputFacts]) -> str | None:
    """What is wrong where a network of numbers reads these inputs; None where none of them is of texts."""
    texts = [name for name in names if name in inputs and inputs[name].tokens is not None]
    if not texts:
        return None
    return (
        f"it reads numbers, and {quoted(texts)} has texts: use a network that reads tokens, such as "
        '`{"family": "huggingface", "name": "bert"}`, or other `inputs`'
    )


def _reads(model: TokenEncoding, rows: TokenEncoding | None) -> bool:
    """Whether a model can read texts, by its own tokenizer, or rows of ids, which must be those that it knows."""
    return rows is not None and model.ids == rows.ids and (model.ids is None or reads_same_tokens(model, rows))


def _what(encoding: TokenEncoding | None) -> str:
    if encoding is None or encoding.ids is None:
        return "texts by a tokenizer of its own"
    return f"ids below {encoding.vocabulary} with the padding {encoding.padding}"


def teacher_of_texts(model: ModelFacts, dataset: DatasetFacts) -> tuple[tuple[str, ...], Problem | None]:
    """(the input that a teacher of texts reads, what is wrong): the one of its own input's name, else the only one."""
    texts = [name for name, each in dataset.inputs.items() if each.tokens is not None]
    theirs = tokens_of(model)
    if theirs is not None and texts:
        alike = [name for name in texts if _reads(theirs, dataset.inputs[name].tokens)]
        if not alike:
            detail = (
                f"the teacher reads {_what(theirs)}, and {quoted(texts)} has {_what(dataset.inputs[texts[0]].tokens)}: "
                "use a teacher of such rows"
            )
            return (), Problem(pointer="", code="input_mismatch", detail=detail)
        texts = alike
    own = [name for name in model.inputs if name in texts]
    found = own or texts
    if len(found) == 1:
        return (found[0],), None
    detail = (
        f"the teacher reads a text, and the dataset has none among {quoted(dataset.inputs)}: use another teacher"
        if not texts
        else f"the teacher reads one text called {quoted(model.inputs)}, and the dataset has {quoted(texts)}: give its "
        "input one of these names in its manifest's `inputs`"
    )
    return (), Problem(pointer="", code="input_mismatch", detail=detail)
