"""Changed uploads are refused or read as they are, and nothing else; and the campaign sees what goes wrong."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.exhaustive import sample
from tests.mutants.running import Mutant, campaign, mutant, running_pools
from tests.mutants.sound import Sound, sound_uploads
from tests.mutants.table import Counts, table_of
from tests.mutants.verdict import Verdict, judge, misfit_of
from workers.runtime.child.pool import ChildPool

SHORT, LONG = 25, 5000
WAY_OUT = "the file is damaged: write it again"


@pytest.fixture(scope="module")
def sounds() -> list[Sound]:
    return sound_uploads()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools() -> AsyncIterator[Mapping[bool, ChildPool]]:
    """The same for all tests: they import for seconds."""
    with running_pools() as running:
        yield running


async def _failed(
    count: int, seed: int, sounds: list[Sound], folder: Path, pools: Mapping[bool, ChildPool]
) -> tuple[list[str], Counter[str]]:
    failed, outcomes = [], Counter[str]()
    async for made, verdict in campaign(range(count), seed, sounds, folder, pools):
        outcomes[verdict.outcome] += 1
        if verdict.outcome == "failed":
            repeat = f"python -m tests.mutants --seed {seed} --only {made.number}"
            failed.append(f"{repeat}: {made.sound.name}: {verdict.detail}")
    return failed, outcomes


@pytest.mark.parametrize("count", sample((SHORT, 4 * SHORT), keep=(SHORT,)))
@pytest.mark.timeout(900)
@pytest.mark.asyncio(loop_scope="module")
async def test_changed_uploads_are_refused_or_read_as_they_are(
    count: int, sounds: list[Sound], tmp_path: Path, pools: Mapping[bool, ChildPool]
) -> None:
    failed, outcomes = await _failed(count, 1, sounds, tmp_path, pools)
    assert not failed
    assert outcomes["ready"] > count // 20
    assert outcomes["refused"] > count // 2


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.asyncio(loop_scope="module")
async def test_thousands_of_changed_uploads_are_refused_or_read_as_they_are(
    sounds: list[Sound], tmp_path: Path, pools: Mapping[bool, ChildPool]
) -> None:
    failed, _ = await _failed(LONG, 0, sounds, tmp_path, pools)
    assert not failed


@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_uploads_that_are_changed_are_sound(
    sounds: list[Sound], tmp_path: Path, pools: Mapping[bool, ChildPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.mutants.running.mutant",
        lambda number, seed, all_of: Mutant(
            number,
            all_of[number],
            tuple(map(all_of[number].upload, all_of[number].files)),
            all_of[number].manifest,
            (),
        ),
    )
    verdicts = campaign(range(len(sounds)), 0, sounds, tmp_path, pools)
    found = [(made.sound.name, verdict) async for made, verdict in verdicts]
    assert [each for each in found if each[1] != Verdict("ready")] == []


def test_a_mutant_is_a_function_of_its_number_and_seed(sounds: list[Sound]) -> None:
    again = sound_uploads()
    assert [each.files for each in again] == [each.files for each in sounds]
    made = [mutant(number, 0, sounds) for number in range(60)]
    assert [mutant(number, 0, again) for number in range(60)] == made
    assert [mutant(number, 1, sounds).files for number in range(60)] != [each.files for each in made]


def test_either_of_two_files_is_changed(sounds: list[Sound]) -> None:
    two = next(i for i, each in enumerate(sounds) if each.further is not None)
    made = [mutant(two + len(sounds) * k, 0, sounds) for k in range(12)]
    changed = {tuple(a != b for a, b in zip(each.files, sounds[two].files, strict=True)) for each in made}
    assert {(True, False), (False, True)} <= changed
    assert (True, True) not in changed


@pytest.mark.parametrize(
    ("code", "message", "wrong"),
    [
        ("unreadable", WAY_OUT, None),
        ("no_such_code", WAY_OUT, "not in the catalogue"),
        ("unreadable", f"{WAY_OUT}\0", "cannot be printed"),
        ("unreadable", "no: way", "7 characters"),
        ("unreadable", f"{WAY_OUT}{'.' * 2000}", "characters"),
        ("unreadable", "/tmp/x/upload is damaged: write it again", "discloses a path"),
        ("unreadable", "File reading.py, line 3: write it again", "discloses a path"),
        ("unreadable", "the file is damaged", "no way out"),
    ],
)
def test_a_refusal_needs_a_code_and_a_message_for_people(code: str, message: str, wrong: str | None) -> None:
    found = misfit_of(code, message, Path("/nowhere/attempt"))
    assert found == wrong if wrong is None else found is not None and wrong in found


@pytest.mark.parametrize("status", [1, -11, -14, 137])
def test_a_child_without_an_outcome_has_failed(status: int, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("")
    verdict = judge(status, tmp_path)
    assert verdict.outcome == "failed"
    assert str(status) in verdict.detail


def test_the_table_counts_by_format_and_outcome(sounds: list[Sound]) -> None:
    counts = Counts()
    made = mutant(0, 0, sounds)
    for verdict in (Verdict("ready"), Verdict("refused", "unreadable"), Verdict("refused", "manifest")):
        counts.add(made, verdict)
    text = table_of(counts, [made.sound.row, "csv"], "a machine", "a command", 1.0)
    assert "| images, zip | 1 | 1 | 1 | 0 |" in text
    assert "| all | 1 | 1 | 1 | 0 |" in text
    assert "| `unreadable` | 1 |" in text
    assert not counts.failures
