"""Every code has a way out: in the catalogue, and in each message after what was expected and found."""

from app.http.validation import CODES
from tests.architecture.errors.catalogue import CATALOGUE, CLIENT, COMPUTED, JOBS, REQUESTS, SPECS, UPLOADS
from tests.architecture.errors.collect import Found, found_codes


def test_every_code_of_the_source_is_in_the_catalogue_with_its_way_out() -> None:
    found = {each.code for each in found_codes()} | set(CODES.values()) | COMPUTED
    new, gone = found - set(CATALOGUE), set(CATALOGUE) - found
    assert not new, f"add to tests/architecture/errors/catalogue.py what a user does about {sorted(new)}"
    assert not gone, f"remove from tests/architecture/errors/catalogue.py what nothing raises: {sorted(gone)}"


def test_a_code_is_in_one_part_of_the_catalogue() -> None:
    assert len(CATALOGUE) == sum(map(len, (REQUESTS, UPLOADS, SPECS, JOBS, CLIENT)))


def test_every_message_ends_in_a_way_out() -> None:
    """`expected …, found …: what to do`. A message that begins with a computed part is left out."""
    bare = [each for each in found_codes() if each.message is not None and not _has_way_out(each.message)]
    assert not bare, "\n".join(f"{each.place} {each.code}: {each.message}" for each in bare)


def _has_way_out(message: str) -> bool:
    return message.startswith("{}") or ":" in message


def test_the_collector_sees_every_form_of_a_code() -> None:
    codes = {each.code for each in found_codes()}
    assert {"wrong_output", "class_without_labels", "unknown_key", "missing_parameters", "duplicate_name"} <= codes
    assert {"disk_full", "out_of_memory", "small_split", "no_validation", "sharing_mismatch"} <= codes
    assert any(each == Found("key_needed", each.place, each.message) and each.message for each in found_codes())
