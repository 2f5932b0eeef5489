"""Views of tokens with the ids that a tokenizer gives them."""

from app.contracts.problems import UserError
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.specs.views import Transform, Views, WordDropoutView
from workers.engine.data.texts.tokenizer import TextTokenizer


def with_ids(views: Views, encoding: TokenEncoding, tokenizer: TextTokenizer | None) -> Views:
    """Views whose `word_dropout` names the id that replaces tokens and all ids that stay: padding and special tokens
    too. `tokenizer`: None for rows that are ids. Raises UserError `view_undefined` where nothing says what replaces.
    """
    return views.model_copy(
        update={"transforms": tuple(_with_ids(each, encoding, tokenizer) for each in views.transforms)}
    )


def _with_ids(transform: Transform, encoding: TokenEncoding, tokenizer: TextTokenizer | None) -> Transform:
    if not isinstance(transform, WordDropoutView):
        return transform
    token = transform.token
    if token is None:
        token = tokenizer.replacing if tokenizer is not None else None
    if token is None:
        raise UserError(
            "view_undefined",
            "`word_dropout` replaces tokens by the mask token or the unknown token, found neither in the student's "
            "tokenizer: give `token`, the id that replaces them",
        )
    kept = {encoding.padding, *transform.keep, *(tokenizer.special if tokenizer is not None else ())}
    return transform.model_copy(update={"token": token, "keep": tuple(sorted(kept))})
