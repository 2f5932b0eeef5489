"""Names of rows that a model makes of an input of a dataset in its own way: those of texts by another tokenizer, and
those of files by another form.
"""

from typing import Final, assert_never

from app.contracts.base import digest_of
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.inputs.texts import TokenEncoding

_SEPARATOR: Final = ":"
"""No name of an input has it."""


def encoded_name(name: str, encoding: TokenEncoding | ImageForm | AudioForm) -> str:
    """The name of an input's rows as another model than the job's student reads them."""
    match encoding:
        case TokenEncoding():
            return f"{name}{_SEPARATOR}{encoding.tokenizer[:16]}-{encoding.padding}-{encoding.length}"
        case ImageForm() | AudioForm():
            return f"{name}{_SEPARATOR}{digest_of(encoding.model_dump(mode='json'))[:16]}"
        case _:
            assert_never(encoding)


def own_name(name: str) -> str:
    """The name of the input that is meant by it, or by an `encoded_name` of it."""
    return name.partition(_SEPARATOR)[0]


def encoding_part(name: str) -> str:
    """What an `encoded_name` has behind the name of the input; empty for the input itself."""
    return name.partition(_SEPARATOR)[2]


def is_encoded_name(name: str) -> bool:
    """Whether this is such a name, and none of an input of a dataset."""
    return _SEPARATOR in name
