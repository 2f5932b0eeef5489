"""What every contract shares: the strict base class, bounded scalar types, canonical JSON, digests."""

import hashlib
import json
from typing import Annotated, Any, Final, LiteralString, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema


class Contract(BaseModel):
    """Base of everything that a client sends: unknown fields, NaN, infinity and `true` as a number are errors.

    Instances are frozen. Parse requests with `model_validate_json` (JSON lists become tuples there); parse
    stored documents with `extra="ignore"`, so that a newer writer never breaks an older reader.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=False)


class Answer(BaseModel):
    """Base of everything that the service sends; clients tolerate unknown fields in it."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f]*$"


def printable(text: str) -> str:
    """The text. Raises ValueError for control characters and lone surrogates."""
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise ValueError("control characters and lone surrogates are not allowed here")
    return text


class Printable:
    """Annotation of a text: `printable`, and its schema says so (no pattern can name surrogates, and JSON has none)."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Of the text, and then the validator."""
        return core_schema.no_info_after_validator_function(printable, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Of the text, with a pattern."""
        return {**handler(schema), "pattern": PRINTABLE_PATTERN}


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$"
NAME_FORM = "1 to 64 letters, digits, `_`, `.` or `-`, starting with a letter or digit"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN), Field(description=f"{NAME_FORM}.")]
"""A name that appears in parameter names, metric names and URLs."""

Title = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable()]
"""A human's name for a resource."""

Licence = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable()]
"""A licence by its name or SPDX expression, or in words."""

Column = Annotated[str, StringConstraints(min_length=1, max_length=256), Printable()]
"""A column of a table or a key of an npz archive."""

FileName = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable()]
"""The name of an uploaded file, without folders."""

ClassName = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable()]

ParameterPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,200}$")]

RenamedPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{0,200}$")]
"""What a prefix becomes; nothing drops it."""
NameInFile = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable()]
"""A name as another program wrote it into a file, such as `Identity:0` or `module.fc1`."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
ModelId = Annotated[str, StringConstraints(pattern=rf"^mdl_{_UUID}$"), Field(description="A model's id.")]
DatasetId = Annotated[str, StringConstraints(pattern=rf"^ds_{_UUID}$"), Field(description="A dataset's id.")]
JOB_ID = f"job_{_UUID}"
JobId = Annotated[str, StringConstraints(pattern=rf"^{JOB_ID}$"), Field(description="A job's id.")]

Dimension = Annotated[int, Field(ge=1, le=65_536)]
Shape = Annotated[tuple[Dimension, ...], Field(min_length=1, max_length=4)]
"""The shape of one row, without the batch dimension."""

MOST_MAP_SIDE: Final = 1024
MapSide = Annotated[int, Field(ge=1, le=MOST_MAP_SIDE)]
MapShape = tuple[MapSide, MapSide]
"""[height, width] of a map of labels."""

Weight = Annotated[float, Field(ge=0.0, le=1e4)]
"""A non-negative weight of a term, task or teacher."""

Finite = Annotated[float, Field(ge=-1e30, le=1e30)]
"""A mean, of timestamps or identifiers too; within what float32 holds."""
PositiveScale = Annotated[float, Field(gt=1e-9, le=1e30)]
MIN_DEVIATION: Final = 1e-36
"""Smallest standard deviation: numbers of this size still have all digits of a float32."""
PositiveDeviation = Annotated[float, Field(ge=MIN_DEVIATION, le=1e30)]

Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64), Printable()],
        Annotated[str, StringConstraints(max_length=1024), Printable()],
    ],
    Field(max_length=32, description="Notes of the client: at most 32 short strings, by name."),
]


def left_out(value: Any) -> bool:
    """Whether an optional field was left out: with `exclude_if`, documents without it keep their digests."""
    return value is None


def coded_error(code: LiteralString, message: str) -> PydanticCustomError:
    """An error for validators to raise, with a stable code that is more specific than `invalid_value`."""
    return PydanticCustomError(code, "{message}", {"message": message})


def tuples(value: Any) -> Any:
    """Lists as tuples, recursively: the output of a before-validator is no longer JSON, so strict validation
    requires real tuples.
    """
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return value


def members(union: Any) -> tuple[Any, ...]:
    """The classes of a union, annotated or not, in its order."""
    return get_args(get_args(union)[0] if get_origin(union) is Annotated else union)


def method_of(contract: type[BaseModel]) -> str:
    """The name that selects this member of a union of methods in a request."""
    return str(get_args(contract.model_fields["method"].annotation)[0])


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, no NaN. Equal values give equal text."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
