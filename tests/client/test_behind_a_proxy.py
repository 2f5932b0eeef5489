"""A service behind a reverse proxy with TLS, below a prefix."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from stillhouse import Client, ConnectionFailed

from tests.client.conftest import NETWORK, SHORT, clouds
from tests.client.gateway import Gateway
from tests.demo.service import Service


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that no machine knows."""
    return trustme.CA()


@pytest.fixture
def gateway(service: Service, authority: trustme.CA, tmp_path: Path) -> Iterator[Gateway]:
    """The service at https://127.0.0.1:…/tools/stillhouse."""
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    issued.private_key_pem.write_to_path(key)
    for each in issued.cert_chain_pems:
        each.write_to_path(certificate, append=True)
    with Gateway(service.url, "/tools/stillhouse", (str(certificate), str(key))) as running:
        yield running


def test_a_whole_job_runs_through_tls_and_below_a_prefix(
    gateway: Gateway, service: Service, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with Client(gateway.url, service.key) as client:
        job = client.jobs.train(client.datasets.upload(clouds(), name="far"), NETWORK, training=SHORT)
        assert [event.seq for event in job.events()][-1] > 3
        assert job.wait().state == "succeeded"
        assert job.student.download(tmp_path / "student").stat().st_size > 100


def test_a_certificate_of_an_unknown_authority_is_refused_with_the_way_out(gateway: Gateway, service: Service) -> None:
    with Client(gateway.url, service.key) as client, pytest.raises(ConnectionFailed, match="SSL_CERT_FILE"):
        client.models.get("mdl_01890a5d-ac96-774b-bcce-b302099a8057")


def test_a_wrong_prefix_is_said_to_be_no_stillhouse(service: Service) -> None:
    with Gateway(service.url, "/tools/stillhouse") as gateway, Client(f"{gateway.url}x", service.key) as client:
        with pytest.raises(Exception, match="Stillhouse") as refused:
            client.models.get("mdl_01890a5d-ac96-774b-bcce-b302099a8057")
        assert "not_stillhouse" in str(getattr(refused.value, "code", ""))
