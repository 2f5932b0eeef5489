"""Of what a client can ask for there are few statements, each of which is compiled and prepared once."""

from itertools import product

import pytest

from app.db.reads import padded
from app.db.rows import DatasetRow
from app.jobs import points, repository
from tests.integration.api.harness import ApiHarness

LABELS = [f"key_{place}" for place in range(4)]


@pytest.mark.parametrize("count", range(18))
def test_a_list_is_padded_by_its_last_value_to_a_power_of_two(count: int) -> None:
    values = list(range(count))
    found = padded(values)
    assert found[:count] == values
    assert set(found) == set(values)
    assert len(found) == next((size for size in (1, 2, 4, 8, 16, 32) if size >= count), 0) * bool(count)


async def test_lists_by_labels_with_and_without_values_have_a_statement_for_each_number_of_both(
    any_harness: ApiHarness,
) -> None:
    spec = await any_harness.train_spec()
    all_labels = dict.fromkeys(LABELS, "a")
    first = await any_harness.submit({**spec, "labels": all_labels})
    await any_harness.submit({**spec, "labels": all_labels | {LABELS[1]: "b"}})
    repository._newest.cache_clear()
    for values in product(("=a", ""), repeat=len(LABELS)):
        query = "&".join(f"label={key}{value.replace('=', '%3D')}" for key, value in zip(LABELS, values, strict=True))
        found = (await any_harness.get(f"/v1/jobs?{query}"))["data"]
        assert len(found) == (1 if values[1] else 2), query
        assert found[-1]["id"] == first["id"]
    assert repository._newest.cache_info().misses == len(LABELS) + 1


def test_every_list_by_labels_that_a_client_can_ask_for_is_kept() -> None:
    numbers = [(valued, all_) for all_ in range(repository.MOST_LABELS + 1) for valued in range(all_ + 1)]
    assert repository._newest.cache_info().maxsize == 2**4 * len(numbers)


async def test_any_number_of_series_or_inputs_has_one_of_few_statements(harness: ApiHarness) -> None:
    job = (await harness.submit())["id"]
    points._following.cache_clear()
    points._thinned.cache_clear()
    for count in range(1, 17):
        query = "&".join(f"series=s{place}" for place in range(count))
        for thinned in ("", "&points=10"):
            assert (await harness.get(f"/v1/jobs/{job}/metrics?{query}{thinned}"))["series"] == {}
    assert [each.cache_info().misses for each in (points._following, points._thinned)] == [5, 5]
    repository._known_resources.cache_clear()
    for count in range(1, 9):
        ids = [f"ds_{place}" for place in range(count)]
        known = await repository.known_resources(harness.services.database, DatasetRow, "prj_default", ids)
        assert known == {}
    assert repository._known_resources.cache_info().misses == 4
