"""A SELECT that is compiled once for each dialect: building it and loading objects take longer than the read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Dialect, Float, Select, make_url
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from app.db.urls import Dialect as DialectName

Row = TypeVar("Row")
Values = Mapping[str, str | int]
"""The values of a query's parameters (`bindparam`), by name."""

_DIALECTS: Final[Mapping[DialectName, Dialect]] = {
    "sqlite": SQLiteDialect(paramstyle="named"),
    "postgresql": make_url("postgresql+psycopg://").get_dialect()(),
}


@dataclass(frozen=True)
class Compiled:
    """A query for one driver."""

    text: str
    """SQL, with parameters as the driver names them."""
    constants: Values
    """Values of the parameters that the statement itself gives."""
    processors: tuple[tuple[int, Callable[[Any], Any]], ...]
    """What makes the values of which columns of what the driver returns."""


class Query(Generic[Row]):
    """Rows made by `make` of the columns' values. Keep one per statement: it holds what was compiled."""

    def __init__(self, make: Callable[[Sequence[Any]], Row], statement: Select[*tuple[Any, ...]]) -> None:
        self._make = make
        self._statement = statement
        self._compiled: dict[DialectName, Compiled] = {}

    def compiled(self, dialect: DialectName) -> Compiled:
        """The query as the driver of this dialect takes it."""
        found = self._compiled.get(dialect)
        if found is None:
            found = self._compiled[dialect] = _compile(self._statement, _DIALECTS[dialect])
        return found

    def rows(self, compiled: Compiled, found: Iterable[Sequence[Any]]) -> list[Row]:
        """Rows of what the driver returned, each value as its column's type reads it; NULL is None."""
        rows = []
        for each in found:
            values = list(each)
            for place, process in compiled.processors:
                if values[place] is not None:
                    values[place] = process(values[place])
            rows.append(self._make(values))
        return rows


def _compile(statement: Select[*tuple[Any, ...]], dialect: Dialect) -> Compiled:
    compiled = statement.compile(dialect=dialect)
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    # Both drivers return floats as they are; SQLAlchemy's processor of them needs a type code of the driver.
    columns = ((place, c.type) for place, c in enumerate(statement.selected_columns) if not isinstance(c.type, Float))
    processors = ((place, each.dialect_impl(dialect).result_processor(dialect, None)) for place, each in columns)
    found = tuple((place, process) for place, process in processors if process is not None)
    return Compiled(str(compiled), constants, found)
