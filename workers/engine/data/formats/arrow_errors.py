"""Errors of Arrow, as a person who uploads a file reads them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from workers.engine.data.formats.common import unreadable

ENCODING = ': save it as UTF-8, or name its encoding, such as `"csv": {"encoding": "windows-1252"}`'
_FIELDS = ". Quote fields that hold the delimiter or a decimal comma, or name another `csv.delimiter`"


@contextmanager
def arrow_errors(file_format: str) -> Iterator[None]:
    """Errors of Arrow as UserError `unreadable`; those of the system stay."""
    try:
        yield
    except UnicodeDecodeError:
        raise unreadable(f"the {file_format} file has text that is not UTF-8{ENCODING}") from None
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise  # an error of the system; a damaged file is an OSError without errno
        way_out = ENCODING if "invalid UTF8" in str(error) else _FIELDS if "columns, got" in str(error) else ""
        reason = str(error).partition("\n")[0][:300]
        raise unreadable(f"the {file_format} file cannot be read: {reason}{way_out}") from None
