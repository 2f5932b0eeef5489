"""Where a download writes meanwhile, and what it never replaces."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stillhouse import Client, Model, Unreadable
from stillhouse.files import target_of
from stillhouse.flows.parts import Part

from tests.client.scripted import Answer, Server, scripted

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FILE = Answer(200, CONTENT, {"ETag": f'"{DIGEST}"'}, "application/octet-stream")
MODEL = {"id": "mdl_1", "format": "safetensors"}


@contextmanager
def served() -> Iterator[tuple[Model, Server]]:
    """A model whose file a server has."""
    with scripted([FILE]) as server, Client(server.url, "key", retries=0) as client:
        yield Model(MODEL, client._session), server


def test_what_is_no_file_is_refused_before_any_request(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "kept").chmod(0o444)
    (tmp_path / "out" / "mdl_1.safetensors").mkdir(parents=True)
    with served() as (model, server):
        for name in ("pipe", "device", "loop", "kept", "out"):
            with pytest.raises(Unreadable, match="expected a file"):
                model.download(tmp_path / name)
        assert not server.asked
    assert (tmp_path / "kept").read_bytes() == b"kept"
    assert Path("/dev/null").is_char_device()


def test_a_symbolic_link_stays_one_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/file")
    with served() as (model, _):
        assert model.download(tmp_path / "link") == tmp_path / "link"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there/file").read_bytes() == CONTENT


def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    with served() as (model, _):
        assert model.download(f"{tmp_path}/new/") == tmp_path / "new/mdl_1.safetensors"
    assert target_of(f"{tmp_path}/new/", "../a") == tmp_path / "new/a"
    assert target_of(tmp_path, "job_1.test.npz") == tmp_path / "job_1.test.npz"


def test_two_downloads_to_one_file_write_apart_and_both_end(tmp_path: Path) -> None:
    first, second = Part.fresh(tmp_path / "m", DIGEST), Part.fresh(tmp_path / "m", DIGEST)
    assert Part.begun(tmp_path / "m") is None
    assert first.path != second.path
    for part in (first, second):
        part.write(CONTENT)
        assert part.sha256() == DIGEST
    first.finish()
    second.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_a_download_that_broke_off_leaves_a_part_that_can_be_found_again_and_no_other(tmp_path: Path) -> None:
    found, private = Part.fresh(tmp_path / "m", DIGEST), Part.fresh(tmp_path / "m", DIGEST)
    found.write(b"weights")
    private.close()
    found.close()
    again = Part.begun(tmp_path / "m")
    assert again is not None
    assert (again.size, again.tag) == (7, DIGEST)
    again.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_the_part_of_a_file_whose_name_goes_on_is_left_alone(tmp_path: Path) -> None:
    Part.fresh(tmp_path / "m.st", DIGEST).close()
    assert Part.begun(tmp_path / "m") is None
    with served() as (model, _):
        model.download(tmp_path / "m")
    assert (tmp_path / f".m.st.{DIGEST}.part").exists()


@pytest.mark.parametrize("name", ["m" * 255, "é" * 127])
def test_every_legal_name_can_be_downloaded_to(tmp_path: Path, name: str) -> None:
    with served() as (model, _):
        assert model.download(tmp_path / name).read_bytes() == CONTENT
    assert len(list(tmp_path.iterdir())) == 1
