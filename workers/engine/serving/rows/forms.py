"""How the rows of each input of a model are sent: type, shape, columns of a table, whether they may have gaps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import get_args

import numpy as np

from app.contracts.problems import UserError
from app.contracts.resolving.data.forms import Form, input_of_files, own_form
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resources.facts import ModelFacts, OpenShape
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens
from app.contracts.resources.manifests import DatasetManifest, InputSpec, InputTransform, TokenClassOutput
from app.contracts.resources.raw_rows import RawInput, RawType, Spellings, form_of
from app.contracts.resources.row_layouts import channels_first
from app.contracts.wire.predictions import SessionOrder, TaughtOutput


@dataclass(frozen=True)
class InputForm:
    """One input as a client sends it.

    `shape`: of one row, None for a side of any length. `columns`: the columns of a table (or the npz key) that it is
    read from, in order. `categories`: whether its values are categories, not numbers. `fills`: whether missing numbers
    are filled. `spellings`: of each column of categories, texts whose meaning no rule tells. `image`, `audio`: how
    image or sound files become such rows, where the model was trained on them. `tokens`: how texts become such rows,
    where it was trained on texts: `columns` are then those of the texts. `pairs_too`: whether a row may be one text or
    a pair, of an upload, whose files do not say which it was trained on. `texts_alone`: whether the ids that a client
    has are those of another tokenizer; `files_alone`: whether the pixels or features are those of another model's form.
    """

    name: str
    dtype: RawType
    shape: OpenShape
    columns: tuple[str, ...]
    categories: bool = False
    fills: bool = False
    spellings: tuple[Spellings, ...] = ()
    image: ImageForm | None = None
    audio: AudioForm | None = None
    tokens: TokenEncoding | None = None
    pairs_too: bool = False
    texts_alone: bool = False
    files_alone: bool = False

    @property
    def described(self) -> str:
        """Type and shape, for messages."""
        sides = ", ".join(["rows", *("any" if side is None else str(side) for side in self.shape)])
        if self.tokens is not None and self.tokens.ids:
            return f"lists of up to {self.shape[0]} ids below {self.tokens.vocabulary}"
        if self.tokens is not None and self.tokens.words:
            return "lists of words"
        if self.pairs_too:
            return "texts or pairs of texts"
        if self.tokens is not None:
            return "texts" if len(self.columns) == 1 else "pairs of texts"
        what = "categories as text" if self.categories and self.dtype == "string" else self.dtype
        return f"{what} [{sides}]"


def session_forms(order: SessionOrder) -> dict[str, InputForm]:
    """The forms of the rows that a session is sent. A teacher of texts reads those of its student by its own tokenizer,
    in rows as wide as the longest text.
    """
    facts = order.rows_of or order.model.facts
    assert facts is not None, "only ready models answer"
    forms = forms_of(facts, order.dataset)
    own = tokens_of(order.model.facts) if order.model.facts is not None else None
    if order.rows_of is not None and order.model.facts is not None:
        form = form_of_teacher(order.model.facts, order.rows_of, order.taught)
        if form is not None:
            ((name, sent),) = forms.items()
            return {name: _in_own_form(sent, form)}
    if order.rows_of is None or own is None:
        return forms
    return {
        name: replace(
            form,
            tokens=own.model_copy(update={"words": form.tokens.words}),
            texts_alone=not reads_same_tokens(own, form.tokens),
        )
        if form.tokens is not None and not own.ids
        else form
        for name, form in forms.items()
    }


def form_of_teacher(model: ModelFacts, student: ModelFacts, taught: Mapping[str, TaughtOutput]) -> Form | None:
    """The form by which a teacher reads the files that are sent to its student; None for one that reads its rows.

    Raises UserError `input_mismatch` where such a student reads other inputs too.
    """
    own, known = own_form(model), student.raw_inputs
    files = {name: each.image or each.audio for name, each in known.items()}
    if own is None or input_of_files(model, files) is None or any(each.augmented for each in taught.values()):
        return None
    if len(known) > 1:
        raise UserError(
            "input_mismatch",
            "the teacher reads files by its own `form`, and this student reads other inputs beside them: the "
            "predictions of the job have its answers",
        )
    return own[1]


def _in_own_form(sent: InputForm, form: Form) -> InputForm:
    """A student's input of files, as its teacher reads them."""
    raw = form_of(InputTransform(form=form), ())
    return replace(
        sent,
        dtype=raw.dtype,
        shape=raw.shape,
        image=raw.image,
        audio=raw.audio,
        files_alone=(raw.image, raw.audio) != (sent.image, sent.audio),
    )


def forms_of(facts: ModelFacts, dataset: DatasetManifest | None) -> dict[str, InputForm]:
    """The forms of a model's inputs in the order in which it reads them. `dataset`: what it was trained on."""
    if facts.architecture is None:
        return {name: _of_graph(facts, name) for name in facts.input_shapes}
    return {name: _of_network(name, form, facts, dataset) for name, form in raw_forms(facts).items()}


def raw_forms(facts: ModelFacts) -> dict[str, RawInput]:
    """How the rows of a network's inputs stand in a file, as its exported graph takes them."""
    inputs = facts.inputs or {"x": InputTransform()}
    several = len(inputs) > 1
    known = facts.raw_inputs
    return {
        name: known.get(name) or form_of(transform, _fixed(facts.input_shapes[name] if several else facts.input_shape))
        for name, transform in inputs.items()
    }


def _fixed(shape: OpenShape | None) -> tuple[int, ...]:
    return tuple(side or 1 for side in shape or ())


def _of_network(name: str, form: RawInput, facts: ModelFacts, dataset: DatasetManifest | None) -> InputForm:
    transform = facts.inputs.get(name, InputTransform())
    encoding, tokens = transform.encoding, transform.tokens
    is_upload = dataset is None and name not in facts.raw_inputs
    if is_upload and tokens is not None and not tokens.ids and _labels_tokens(facts):
        tokens = tokens.model_copy(update={"words": True})
    return InputForm(
        name,
        form.dtype,
        form.shape if form.tokens is None else (None,),
        _columns(name, form, transform, dataset),
        categories=encoding is not None and encoding.categories is not None,
        fills=encoding is not None and encoding.missing is not None,
        spellings=form.spellings,
        image=form.image,
        audio=form.audio,
        tokens=tokens,
        pairs_too=is_upload and tokens is not None and not tokens.ids and not tokens.words,
    )


def _labels_tokens(facts: ModelFacts) -> bool:
    """Whether a model answers for each token, and so for words, of which a row is a list."""
    return any(isinstance(each.spec, TokenClassOutput) for each in facts.outputs.values())


def _columns(name: str, form: RawInput, transform: InputTransform, dataset: DatasetManifest | None) -> tuple[str, ...]:
    """The columns of the file: as the dataset's manifest lists them, else as the training has kept them."""
    spec = None if dataset is None else _spec(name, dataset.inputs)
    if spec is not None:
        return spec.columns or (name,)
    encoding = transform.encoding
    if form.tokens is not None and form.columns:
        return form.columns
    if encoding is not None and encoding.columns:
        return encoding.columns
    columns = transform.columns
    if columns is None or len(columns) != prod(form.arranged):
        return (name,)
    if not form.channels_last:
        return columns
    moved = np.array(columns).reshape(channels_first(form.arranged))
    return tuple(np.moveaxis(moved, 0, -1).ravel().tolist())


def _spec(name: str, inputs: Mapping[str, InputSpec]) -> InputSpec | None:
    """A single input of joined datasets has any name."""
    return inputs.get(name) or (next(iter(inputs.values())) if len(inputs) == 1 else None)


def _of_graph(facts: ModelFacts, name: str) -> InputForm:
    """Of an uploaded graph: rows in its own shape and type, before the transform of its manifest, or what its form
    makes of files.
    """
    own = facts.inputs.get(name, InputTransform()).form
    if own is not None:
        raw = form_of(InputTransform(form=own), ())
        return InputForm(name, raw.dtype, raw.shape, (name,), image=raw.image, audio=raw.audio)
    found = facts.input_types.get(name, "float32")
    dtype: RawType = next((each for each in get_args(RawType) if each == found), "float32")
    return InputForm(name, dtype, facts.input_shapes[name], (name,))
