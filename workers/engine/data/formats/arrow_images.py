"""Columns of encoded images in Arrow: bytes, or the struct {bytes, path} that Hugging Face's `Image` feature writes."""

import pyarrow as pa
import pyarrow.compute

from app.contracts.problems import UserError
from workers.engine.data.formats.encoded_images import EncodedImages


def encoded_images(name: str, column: pa.ChunkedArray) -> EncodedImages:
    """The images of a column, without a copy of each. Raises UserError `wrong_type`."""
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = pa.compute.struct_field(column, "bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise UserError(
            "wrong_type",
            f"column `{name}` is of type {column.type}, expected encoded images: bytes, or a struct with `bytes`",
        )
    if column.null_count:
        first = pa.compute.index(pa.compute.is_null(column), True).as_py()
        raise UserError(
            "wrong_type",
            f"column `{name}` has no bytes at row {first} ({column.null_count} such rows in all): write the images "
            "themselves into the file instead of their paths, or leave these rows out",
        )
    values = column.cast(pa.large_binary()).combine_chunks()
    return EncodedImages(
        len(values), lambda row: values[row].as_buffer().to_pybytes(), lambda row: f"{name} at row {row}"
    )
