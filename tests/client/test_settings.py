"""Which service a client talks to, and that a key goes nowhere else."""

import stat
from pathlib import Path

import pytest
from stillhouse import Client, NotSignedIn
from stillhouse.settings import Login, forget_login, login, login_file, store_login, stored_login

HERE, ELSEWHERE = "http://here.example:8000", "https://elsewhere.example"


@pytest.fixture
def stored() -> Path:
    return store_login(Login(HERE, "stored-key"))


def test_a_stored_login_is_readable_by_its_owner_alone_and_can_be_forgotten(stored: Path, tmp_path: Path) -> None:
    assert stored == tmp_path / "config/stillhouse/login.json" == login_file()
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert login(None, None) == Login(HERE, "stored-key")
    assert forget_login()
    assert not forget_login()
    assert stored_login() is None


def test_arguments_go_before_the_environment_and_this_before_what_is_stored(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_URL", ELSEWHERE)
    monkeypatch.setenv("STILLHOUSE_KEY", "key-of-elsewhere")
    assert login(None, None) == Login(ELSEWHERE, "key-of-elsewhere")
    assert login("http://third.example", "third") == Login("http://third.example", "third")
    assert login(None, "mine") == Login(ELSEWHERE, "mine")


@pytest.mark.parametrize("url", ["http://third.example", "http://here.example:8001"])
def test_a_key_is_not_sent_to_another_service_than_it_was_given_for(
    stored: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with pytest.raises(NotSignedIn, match="expected a key for"):
        login(url, None)
    monkeypatch.setenv("STILLHOUSE_URL", ELSEWHERE)
    monkeypatch.setenv("STILLHOUSE_KEY", "key-of-elsewhere")
    with pytest.raises(NotSignedIn, match="expected a key for"):
        login(url, None)
    assert login(HERE, None).key == "stored-key"


def test_a_key_of_the_environment_without_a_url_goes_to_the_stored_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_KEY", "key-of-elsewhere")
    with pytest.raises(NotSignedIn, match="set STILLHOUSE_KEY together with STILLHOUSE_URL"):
        login(HERE, None)
    store_login(Login(ELSEWHERE, "stored-key"))
    assert login(None, None) == Login(ELSEWHERE, "key-of-elsewhere")
    with pytest.raises(NotSignedIn, match="expected a key for"):
        login(HERE, None)


@pytest.mark.parametrize("url", [f"{HERE}/", f" {HERE}/v1/ ", "HTTP://Here.example:8000", HERE])
def test_a_url_is_the_same_however_it_is_written(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("STILLHOUSE_URL", url)
    monkeypatch.setenv("STILLHOUSE_KEY", "key-of-here")
    assert login(HERE, None) == Login(HERE, "key-of-here")


def test_without_a_home_nothing_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert stored_login() is None
    assert not forget_login()
    assert login(HERE, "key") == Login(HERE, "key")
    with pytest.raises(NotSignedIn, match="set HOME or XDG_CONFIG_HOME"):
        store_login(Login(HERE, "key"))


def test_what_is_no_text_is_no_url_and_no_key() -> None:
    for url, key in ((5, "k"), (HERE, 5)):
        with pytest.raises(NotSignedIn, match=r"expected a (URL|key)"):
            Client(url, key)  # type: ignore[arg-type]  # types refuse it too


def test_without_a_url_the_ways_to_give_one_are_named() -> None:
    with pytest.raises(NotSignedIn, match="STILLHOUSE_URL, or run `stillhouse login`"):
        Client()


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://here", "http://", "http://a b:99999999", "http://u:secret@here"]
)
def test_what_is_no_url_of_a_service_is_refused_without_a_password_in_it(url: str) -> None:
    with pytest.raises(NotSignedIn, match="expected a URL") as refused:
        Client(url, "key")
    assert "secret" not in str(refused.value)


def test_the_slash_and_the_version_at_the_end_of_a_url_are_left_out() -> None:
    with Client(f"{HERE}/v1/", "key") as client:
        assert client.url == HERE


@pytest.mark.parametrize("key", ["se cret", "sécret", "se\ncret", " "])
def test_a_key_that_no_header_can_hold_is_refused_without_an_echo(key: str) -> None:
    with pytest.raises(NotSignedIn, match="printable characters") as refused:
        Client(HERE, key)
    assert "cret" not in str(refused.value)


def test_no_repr_has_the_key() -> None:
    with Client(HERE, "very-secret") as client:
        shown = [client, client._session, client.jobs, Login(HERE, "very-secret"), client._session.driver.http.headers]
        assert not any("very-secret" in repr(each) for each in shown)
