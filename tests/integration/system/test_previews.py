"""`GET /v1/datasets/{id}/preview`: of a ready dataset whose inspection made one."""

import json

from app.contracts.wire.orders import InspectionOutcome
from tests.integration.api.harness import DATASET_FACTS, ApiHarness


async def code(harness: ApiHarness, identity: str) -> str:
    answer = await harness.http.get(f"/v1/datasets/{identity}/preview")
    return f"{answer.status_code} {answer.json().get('code')}"


async def test_a_preview_is_served_once_the_dataset_is_ready(harness: ApiHarness) -> None:
    identity = (await harness.upload("datasets"))["id"]
    assert (await code(harness, identity)).startswith("409")
    claim = await harness.claim("inspect")
    assert await harness.services.ledger.begin(claim, {})
    file = await harness.published("preview", "preview.json", json.dumps({"object": "preview", "rows": []}).encode())
    outcome = InspectionOutcome(dataset=DATASET_FACTS)
    assert await harness.services.ledger.finish_inspection(claim, outcome, (file,))
    answer = await harness.http.get(f"/v1/datasets/{identity}/preview")
    assert answer.json() == {"object": "preview", "rows": []}
    assert answer.headers["content-type"] == "application/json"


async def test_a_dataset_without_one_says_so_and_none_that_there_is_none(harness: ApiHarness) -> None:
    assert await code(harness, await harness.ready_dataset()) == "404 no_preview"
    assert await code(harness, "ds_none") == "404 unknown_dataset"
