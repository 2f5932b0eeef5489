"""Wrong keys are counted by who sends them, whatever the requests say."""

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from tests.integration.connections.conftest import Service, Serving

CLIENTS = [f"192.0.2.{number}" for number in range(1, 7)]


async def guesses(service: Service, clients: list[str]) -> Counter[int]:
    """The statuses of guesses that name these addresses as theirs."""
    found: Counter[int] = Counter()
    for number, client in enumerate(clients):
        headers = {"Authorization": f"Bearer sth_{number}", "X-Forwarded-For": client}
        found[(await service.http.get("/v1/jobs", headers=headers)).status_code] += 1
    return found


async def test_a_guesser_who_names_another_address_each_time_is_slowed_down(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # of uvicorn itself: only our setting counts
    async with serving(wrong_keys_per_minute=1) as service:
        assert await guesses(service, CLIENTS) == {401: 1, 429: 5}
        assert (await service.http.get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize("proxies", ["127.0.0.1", " 10.0.0.0/8 , 127.0.0.0/24"])
async def test_a_proxy_that_is_trusted_names_the_client_and_its_clients_are_counted_apart(
    serving: Serving, proxies: str
) -> None:
    async with serving(wrong_keys_per_minute=1, trusted_proxies=proxies) as service:
        assert await guesses(service, CLIENTS) == {401: 6}
        assert await guesses(service, [f"198.51.100.{number}, 192.0.2.77" for number in range(4)]) == {401: 1, 429: 3}


async def test_the_addresses_of_one_ipv6_client_are_one_guesser(serving: Serving) -> None:
    async with serving(wrong_keys_per_minute=1, trusted_proxies="127.0.0.1") as service:
        mine = [f"2001:db8:1:2::{number:x}" for number in range(1, 5)]
        assert await guesses(service, mine) == {401: 1, 429: 3}
        assert await guesses(service, ["2001:db8:1:3::1"]) == {401: 1}


@pytest.mark.parametrize("setting", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.1,,10.0.0.2", "10.0.0.1;10.0.0.2"])
def test_a_setting_that_trusts_nobody_or_everybody_by_mistake_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ValidationError, match="expected addresses or networks"):
        Settings(trusted_proxies=setting, data_dir=tmp_path)
