"""The campaign's program: every fault for every round, whatever a round does, and one table that hides nothing."""

from pathlib import Path

from tests.faults.campaign.catalogue import FAULTS
from tests.faults.campaign.outcome import Fault, Needs, Outcome, together
from tests.faults.campaign.running import Campaign
from tests.faults.campaign.table import table_of


def _fine(seed: int, folder: Path, url: str) -> Outcome:
    assert folder.is_dir()
    assert url.startswith("sqlite")
    return Outcome(kills=seed, bit_exact=True, recovery=float(seed))


def _breaking(seed: int, folder: Path, url: str) -> Outcome:
    if seed == 2:
        raise AssertionError("waited in vain")
    return Outcome(kills=1, others=2)


def _flawed(seed: int, folder: Path, url: str) -> Outcome:
    return Outcome(kills=1, lost=1, stale=("process 7",), bit_exact=seed != 3)


def _lacking(seed: int, folder: Path, url: str) -> Outcome:
    raise Needs("strace")


def _campaign(folder: Path, *faults: Fault) -> tuple[Campaign, list[str]]:
    lines: list[str] = []
    return Campaign(faults, folder, None, lines.append), lines


def run(campaign: Campaign, rounds: int) -> None:
    for _ in campaign.rounds(rounds, first_seed=1):
        assert campaign.seen


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_a_round_that_breaks_off_is_counted_and_the_campaign_goes_on(tmp_path: Path) -> None:
    campaign, lines = _campaign(tmp_path, Fault("breaks", _breaking, ("sqlite",)), Fault("fine", _fine, ("sqlite",)))
    run(campaign, rounds=3)
    table = table_of(campaign.seen, "a machine, today", "make faults")
    assert "| breaks | sqlite | 2 and 1 aborted | 2 | 4 | 0 | 0 | 0 | 0 | n/a | n/a |" in table
    assert "| fine | sqlite | 3 | 6 | 0 | 0 | 0 | 0 | 0 | yes | 3.0 s |" in table
    assert "- breaks, sqlite: aborted: seed 2: AssertionError: waited in vain" in table
    assert "a machine, today" in table
    assert "8 kills and 4 other faults in 5 rounds." in table
    assert len(lines) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["breaks-sqlite-2"]  # kept, to be looked at


def test_failures_of_any_round_are_in_the_table(tmp_path: Path) -> None:
    campaign, _ = _campaign(tmp_path, Fault("flawed", _flawed, ("sqlite",)))
    run(campaign, rounds=3)
    table = table_of(campaign.seen, "", "")
    assert "| flawed | sqlite | 3 | 3 | 0 | 3 | 0 | 0 | 3 | NO | n/a |" in table
    for words in ("3 lost", "stale: process 7", "a student differs"):
        assert f"- flawed, sqlite: {words}" in table


def test_what_a_machine_lacks_is_reported_in_the_row_and_asked_for_once(tmp_path: Path) -> None:
    campaign, lines = _campaign(tmp_path, Fault("lacks", _lacking, ("sqlite",)), Fault("other", _fine, ("postgresql",)))
    run(campaign, rounds=2)
    table = table_of(campaign.seen, "", "")
    assert "| lacks | sqlite | skipped: needs strace |" in table
    assert "| other | postgresql | skipped: needs a PostgreSQL server |" in table
    assert len(lines) == 2
    assert "No failure." in table


def test_outcomes_together_are_as_bad_as_the_worst() -> None:
    found = together([Outcome(recovery=1.0), Outcome(bit_exact=True, recovery=3.0), Outcome(bit_exact=False, stuck=1)])
    assert (found.bit_exact, found.recovery, found.stuck, found.flawless) == (False, 3.0, 1, False)
    assert together([]).bit_exact is None
