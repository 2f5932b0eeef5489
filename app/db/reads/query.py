"""Statements that are compiled once for each dialect: building one and loading objects take longer than its work."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Delete, Dialect, Float, Insert, Select, TextClause
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from app.db.reads.memory import RowMemory
from app.db.urls import Dialect as DialectName

Row = TypeVar("Row")
Value = str | int | float | datetime | None
Values = Mapping[str, Value]
"""The values of a statement's parameters (`bindparam`), by name."""

_DIALECTS: Final[Mapping[DialectName, Dialect]] = {
    "sqlite": SQLiteDialect(paramstyle="named"),
    "postgresql": PGDialect(paramstyle="numeric_dollar"),  # type: ignore[no-untyped-call]  # SQLAlchemy's is not annotated
}
Process = Callable[[Any], Any]
Processors = tuple[tuple[int, Process], ...]
AnySelect = Select[*tuple[Any, ...]]
Executable = AnySelect | Insert | Delete | TextClause
Given = TypeVar("Given")


@dataclass(frozen=True)
class Compiled:
    """A statement for one driver."""

    dialect: DialectName
    text: str
    """SQL, with parameters as the driver names them."""
    places: tuple[str, ...]
    """The parameters in the order of their numbers, where the dialect numbers them."""
    constants: Values
    """Values of the parameters that the statement itself gives."""
    binds: Mapping[str, Process]
    """What makes the values that the driver takes, of which parameters."""
    processors: Processors
    """What makes the values of which columns of what the driver returns."""

    def named(self, values: Values) -> Mapping[str, Any]:
        """The values of all parameters, as the driver takes them."""
        if not self.binds:
            return {**self.constants, **values}
        given: dict[str, Any] = {**self.constants, **values}
        for name, process in self.binds.items():
            if given[name] is not None:
                given[name] = process(given[name])
        return given


class Statement:
    """Keep one per statement: it holds what was compiled. Of many that differ by what a client asks for, give a
    function that builds them: the statement itself takes eight times the memory of what was compiled.
    """

    def __init__(self, statement: Executable | Callable[[], Executable]) -> None:
        self._statement = statement
        self._compiled: dict[DialectName, Compiled] = {}

    @property
    def statement(self) -> Executable:
        """As a session takes it."""
        return self._statement() if callable(self._statement) else self._statement

    def compiled(self, dialect: DialectName) -> Compiled:
        """The statement as the driver of this dialect takes it."""
        found = self._compiled.get(dialect)
        if found is None:
            found = self._compiled[dialect] = _compile(self.statement, dialect)
        return found


class Query(Statement, Generic[Row]):
    """A statement whose rows are made by `make` of the columns' values, or remembered."""

    def __init__(
        self, make: Callable[[Sequence[Any]], Row] | RowMemory[Row], statement: AnySelect | Callable[[], AnySelect]
    ) -> None:
        super().__init__(statement)
        self._memory = make if isinstance(make, RowMemory) else None
        self.row = make.make if isinstance(make, RowMemory) else make

    def rows(self, compiled: Compiled, found: Iterable[Sequence[Any]]) -> list[Row]:
        """Rows of what the driver returned, each value as its column's type reads it; NULL is None."""
        if self._memory is not None:
            return self._memory.rows(compiled.dialect, found, partial(self._made, compiled.processors))
        return [self._made(compiled.processors, each) for each in found]

    def _made(self, processors: Processors, found: Sequence[Any]) -> Row:
        values = list(found)
        for place, process in processors:
            if values[place] is not None:
                values[place] = process(values[place])
        return self.row(values)


def padded(values: Collection[Given]) -> list[Given]:
    """The values, and the last one again up to a power of two: for a statement that takes a list in which repetitions
    change nothing, so that there are few such statements, however many values a client gives.
    """
    given = list(values)
    return given + given[-1:] * ((1 << (len(given) - 1).bit_length()) - len(given)) if given else given


def _compile(statement: Executable, name: DialectName) -> Compiled:
    dialect = _DIALECTS[name]
    compiled = statement.compile(dialect=dialect)
    constants = {bind: value for bind, value in compiled.params.items() if value is not None}
    named = ((bind, each.type) for each, bind in compiled.bind_names.items())
    binds = ((bind, each.dialect_impl(dialect).bind_processor(dialect)) for bind, each in named)
    # Both drivers return floats as they are; SQLAlchemy's processor of them needs a type code of the driver.
    columns = statement.selected_columns if isinstance(statement, Select) else ()
    typed = ((place, c.type) for place, c in enumerate(columns) if not isinstance(c.type, Float))
    processors = ((place, each.dialect_impl(dialect).result_processor(dialect, None)) for place, each in typed)
    return Compiled(
        name,
        str(compiled),
        tuple(compiled.positiontup or ()),
        constants,
        {bind: process for bind, process in binds if process is not None},
        tuple((place, process) for place, process in processors if process is not None),
    )
