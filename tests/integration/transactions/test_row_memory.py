"""What rows became is remembered by their values, within bounds."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Integer, bindparam, insert, select, update

from app.db.clock import utcnow
from app.db.engine import Database, open_database
from app.db.reads import Query, RowMemory, memory
from app.db.rows import ProjectRow
from tests.integration.api.harness import ApiHarness

NEWEST = select(ProjectRow.id, ProjectRow.name, ProjectRow.created_at).order_by(ProjectRow.id)
LIMITED = NEWEST.limit(bindparam("limit", type_=Integer))


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    database = open_database(migrated_url)
    async with database.write() as session:
        rows = [{"id": f"prj_{each}", "name": "one", "created_at": utcnow()} for each in "abcde"]
        await session.execute(insert(ProjectRow), rows)
    yield database
    await database.close()


class Made:
    """Which rows were made."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def take(self) -> str:
        """The ids since the last call, shortened."""
        taken, self.ids = [each.removeprefix("prj_") for each in self.ids], []
        return " ".join(taken)

    def __call__(self, values: Sequence[Any]) -> tuple[Any, ...]:
        self.ids.append(values[0])
        return tuple(values)


async def test_a_row_is_made_again_only_when_a_value_has_changed(database: Database) -> None:
    made = Made()
    rows = RowMemory(made)
    every, few = Query(rows, NEWEST), Query(rows, LIMITED)
    first = await database.fetch(every)
    assert first == await database.fetch(Query(tuple, NEWEST))
    assert made.take() == "a b c d default e"
    assert await database.fetch(few, limit=3) == first[:3]
    assert made.take() == "", "the queries share what they remember"
    async with database.write() as session:
        await session.execute(update(ProjectRow).where(ProjectRow.id == "prj_b").values(name="two"))
    assert [name for _, name, _ in await database.fetch(few, limit=3)] == ["one", "two", "one"]
    assert made.take() == "b"


@pytest.mark.parametrize(
    ("bound", "most", "again"),
    [
        ("MOST_ROWS", 4, "a b c d e default"),
        ("MOST_CHARACTERS", 40, "a b c d e default"),
        ("LONGEST_ROW", 8, "default"),
    ],
)
def test_of_rows_beyond_the_bounds_some_are_made_again(
    monkeypatch: pytest.MonkeyPatch, bound: str, most: int, again: str
) -> None:
    """Rows of 8 characters, and one that is longer."""
    made = Made()
    rows: RowMemory[tuple[Any, ...]] = RowMemory(made)
    found = [*((f"prj_{each}", "one") for each in "abcde"), ("prj_default", "default")]
    monkeypatch.setattr(memory, bound, most)
    for _ in range(2):
        made.take()
        assert rows.rows("sqlite", found, made) == found
        assert rows._rows <= memory.MOST_ROWS
        assert rows._characters == sum(len("".join(each)) for each in rows._known["sqlite"]) <= memory.MOST_CHARACTERS
    assert made.take() == again


def test_what_one_dialect_returns_is_not_taken_for_what_another_does() -> None:
    rows: RowMemory[str] = RowMemory(lambda values: str(values[0]))
    assert rows.rows("sqlite", [("1",)], lambda values: "of SQLite") == ["of SQLite"]
    assert rows.rows("postgresql", [("1",)], lambda values: "of PostgreSQL") == ["of PostgreSQL"]


async def test_a_list_shows_what_has_changed(any_harness: ApiHarness) -> None:
    job = await any_harness.submit()
    for action, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        (listed,) = (await any_harness.get("/v1/jobs"))["data"]
        assert listed == await any_harness.get(f"/v1/jobs/{job['id']}")
        await any_harness.http.post(f"/v1/jobs/{job['id']}/{action}")
        (listed,) = (await any_harness.get("/v1/jobs"))["data"]
        assert listed["state"] == state
