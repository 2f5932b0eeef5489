"""The blob store on a local disk and in a bucket, staging, and room on the disk."""

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import obstore.store
import pytest

from app.storage import local
from app.storage.durable import digest_of_file
from app.storage.errors import BlobMissing, StorageFull, StorageUnavailable, TooLarge, UnusableStore
from app.storage.local import LocalStore
from app.storage.opening import open_store
from app.storage.remote import RemoteStore
from app.storage.space import BLOCK, Space
from app.storage.staging import SizeLimit, Staging
from app.storage.store import BlobStore, DigestMismatch, key_of
from app.system.retention import staged_uploads

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATIENCE = 10.0


@pytest.fixture(params=["local", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "local":
        return LocalStore(tmp_path / "blobs")
    return RemoteStore(obstore.store.MemoryStore())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def fill(path: Path) -> None:
    path.write_bytes(CONTENT)


def left(path: Path) -> list[str]:
    """The path itself and temporary files that bear its name."""
    return [each.name for each in path.parent.glob(f"*{path.name}*")]


async def read(store: BlobStore, start: int = 0, end: int = len(CONTENT), sha256: str = SHA256) -> bytes:
    return b"".join([chunk async for chunk in store.open_range(sha256, start, end)])


async def test_what_is_put_is_read_back_and_the_source_is_gone(store: BlobStore, source: Path) -> None:
    await store.put(source, SHA256)
    assert left(source) == []
    assert await store.exists(SHA256)
    assert await read(store) == CONTENT


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (5, 5), (1_048_575, 1_048_577), (3_000_000, 3_072_000), (7, 3_000_000)]
)
async def test_a_range_is_exactly_its_bytes(store: BlobStore, source: Path, start: int, end: int) -> None:
    await store.put(source, SHA256)
    assert await read(store, start, end) == CONTENT[start:end]


async def test_chunks_are_bounded(store: BlobStore, source: Path) -> None:
    await store.put(source, SHA256)
    sizes = [len(chunk) async for chunk in store.open_range(SHA256, 0, len(CONTENT))]
    assert max(sizes) <= 1 << 20
    assert sum(sizes) == len(CONTENT)


async def test_putting_the_same_bytes_again_is_nothing_new(store: BlobStore, source: Path) -> None:
    await store.put(source, SHA256)
    fill(source)
    await store.put(source, SHA256)
    assert left(source) == []
    assert await read(store) == CONTENT


async def test_concurrent_puts_of_the_same_bytes_all_succeed(store: BlobStore, tmp_path: Path) -> None:
    sources = [tmp_path / f"source-{i}" for i in range(8)]
    for path in sources:
        path.write_bytes(CONTENT)
    await asyncio.gather(*(store.put(path, SHA256) for path in sources))
    assert await read(store) == CONTENT


async def test_a_blob_is_fetched_whole(store: BlobStore, source: Path, tmp_path: Path) -> None:
    await store.put(source, SHA256)
    target = tmp_path / "cache" / SHA256
    target.parent.mkdir()
    await store.fetch(SHA256, target)
    assert digest_of_file(target) == SHA256
    assert list(target.parent.iterdir()) == [target]


async def test_a_fetch_that_was_given_up_spoils_no_later_one(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread cannot be ended: it copies on, from a store on another file system, while the next one copies."""
    store, target = LocalStore(tmp_path / "store"), tmp_path / SHA256
    await store.put(source, SHA256)
    begun, go_on = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
    turns = iter(range(2))

    def copy(origin: Path, to: Path) -> None:
        content, turn = origin.read_bytes(), next(turns)
        with to.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            begun[turn].set()
            go_on[turn].wait(PATIENCE)
            file.write(content[len(content) // 2 :])

    monkeypatch.setattr(local, "_link_or_copy", copy)
    first = asyncio.create_task(store.fetch(SHA256, target))
    await asyncio.to_thread(begun[0].wait)
    first.cancel()
    second = asyncio.create_task(store.fetch(SHA256, target))
    await asyncio.to_thread(begun[1].wait)
    go_on[0].set()
    while not target.exists():  # noqa: ASYNC110 (a thread makes it)
        await asyncio.sleep(0.01)
    assert digest_of_file(target) == SHA256
    go_on[1].set()
    await second
    assert digest_of_file(target) == SHA256
    assert not [name for name in left(target) if name.endswith(".part")]


async def test_damaged_bytes_are_found_and_not_fetched(store: BlobStore, source: Path, tmp_path: Path) -> None:
    wrong = hashlib.sha256(b"something else").hexdigest()
    await store.put(source, wrong)
    with pytest.raises(DigestMismatch, match="restore the blob"):
        await store.fetch(wrong, tmp_path / "target")
    assert left(tmp_path / "target") == []


Use = Callable[[BlobStore, Path], Awaitable[object]]


@pytest.mark.parametrize("use", [lambda s, p: read(s), lambda s, p: s.fetch(SHA256, p)], ids=["read", "fetch"])
async def test_a_missing_blob_says_so(store: BlobStore, tmp_path: Path, use: Use) -> None:
    with pytest.raises(BlobMissing, match=SHA256):
        await use(store, tmp_path / "target")
    assert not await store.exists(SHA256)
    assert store.local_path(SHA256) is None
    assert not (tmp_path / "target").exists()


async def test_a_deleted_blob_is_gone_and_deleting_it_again_is_fine(store: BlobStore, source: Path) -> None:
    await store.put(source, SHA256)
    await store.delete(SHA256)
    await store.delete(SHA256)
    assert not await store.exists(SHA256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "g" * 64, SHA256 + "/..", SHA256[:-1] + "\n"])
async def test_no_name_but_a_digest_reaches_the_store(store: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        await store.exists(name)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        store.local_path(name)


async def test_local_blobs_are_read_only_files_under_two_letters(tmp_path: Path, source: Path) -> None:
    store = LocalStore(tmp_path / "blobs")
    await store.put(source, SHA256)
    path = store.local_path(SHA256)
    assert path == tmp_path / "blobs" / SHA256[:2] / SHA256[2:]
    assert path.stat().st_mode & 0o222 == 0


async def test_a_put_from_another_file_system_is_a_whole_copy(tmp_path: Path) -> None:
    source = Path("/dev/shm") / f"stillhouse-test-{os.getpid()}"
    fill(source)
    with pytest.raises(OSError, match="cross-device"):
        os.link(source, tmp_path / "link")
    store = LocalStore(tmp_path / "blobs")
    await store.put(source, SHA256)
    assert left(source) == []
    assert await read(store) == CONTENT
    assert [path.name for path in (tmp_path / "blobs" / SHA256[:2]).iterdir()] == [SHA256[2:]]


def test_publishing_syncs_the_file_then_renames_then_syncs_the_directory(tmp_path: Path, source: Path) -> None:
    """A power cut between any two of these steps leaves the blob whole or absent."""
    script = f"""
import asyncio, os, sys
from pathlib import Path
calls = []
for name in ("fsync", "rename"):
    def traced(*args, _real=getattr(os, name), _name=name, **options):
        target = os.readlink(f"/proc/self/fd/{{args[0]}}") if _name == "fsync" else str(args[0])
        calls.append(" ".join((_name, Path(target).name)))
        return _real(*args, **options)
    setattr(os, name, traced)
from app.storage.local import LocalStore
asyncio.run(LocalStore(Path({str(tmp_path / "blobs")!r})).put(Path({str(source)!r}), {SHA256!r}))
print(*calls, sep=chr(10))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["fsync blobs", "fsync source", "rename source", f"fsync {SHA256[:2]}"]


async def test_a_bucket_that_does_not_answer_is_unavailability() -> None:
    store = RemoteStore(
        obstore.store.S3Store(
            "bucket",
            endpoint="http://127.0.0.1:9",
            access_key_id="k",
            secret_access_key="s",
            client_options={"allow_http": True, "timeout": "2s"},
            retry_config={"max_retries": 0},
        )
    )
    with pytest.raises(StorageUnavailable, match="does not answer"):
        await store.exists(SHA256)


@pytest.mark.parametrize("url", [None, "blobs-elsewhere", "file://{}/blobs"])
def test_paths_and_file_urls_open_a_local_store(tmp_path: Path, url: str | None) -> None:
    if url == "blobs-elsewhere":
        url = str(tmp_path / url)
    store = open_store(url and url.format(tmp_path), tmp_path)
    assert isinstance(store, LocalStore)


def test_a_bucket_url_opens_a_remote_store(tmp_path: Path) -> None:
    assert isinstance(open_store("s3://bucket/prefix", tmp_path), RemoteStore)


def test_another_url_is_refused_without_an_echo(tmp_path: Path) -> None:
    with pytest.raises(UnusableStore, match="found 'ftp'") as caught:
        open_store("ftp://user:secret@host/x", tmp_path)
    assert "secret" not in str(caught.value)


def test_a_folder_with_anything_else_is_no_store_and_is_left_as_it_is(tmp_path: Path) -> None:
    """Trap: a store takes others their access to everything below its folder."""
    work = tmp_path / "work"
    (work / "ab").mkdir(parents=True)
    (work / "mine").write_text("read by others")
    modes = {path: path.stat().st_mode for path in (work, *work.iterdir())}
    with pytest.raises(UnusableStore, match=r"found 'mine' in .*: name an empty folder"):
        open_store(str(work), tmp_path)
    assert {path: path.stat().st_mode for path in (work, *work.iterdir())} == modes
    (work / "mine").unlink()
    assert isinstance(open_store(str(work), tmp_path), LocalStore)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file://blobs", "found the host 'blobs': write `file:///blobs`"),
        ("file://", "expected a path, found none"),
        ("file:///proc/none/blobs", "found: No such file or directory"),
        ("{}/taken", "found: a file"),
        ("s3://", "such as `s3://bucket/prefix`"),
        ("abfs://account", "Account must be specified"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why(tmp_path: Path, url: str, reason: str) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UnusableStore) as caught:
        open_store(url.format(tmp_path), tmp_path)
    assert reason in str(caught.value)


async def test_an_upload_is_hashed_while_it_is_written(tmp_path: Path) -> None:
    staging, store = Staging(tmp_path / "staging"), LocalStore(tmp_path / "blobs")
    async with staging.open() as file:
        for start in range(0, len(CONTENT), 65_537):
            await file.write(CONTENT[start : start + 65_537])
        staged = await file.finish()
        assert (staged.sha256, staged.bytes) == (SHA256, len(CONTENT))
        assert staged.path.stat().st_mode & 0o077 == 0  # readable only by the owner
        await store.put(staged.path, staged.sha256)
    assert await read(store) == CONTENT
    assert list((tmp_path / "staging").iterdir()) == []


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "staging")
    with pytest.raises(ConnectionResetError):
        async with staging.open() as file:
            await file.write(CONTENT)
            raise ConnectionResetError
    assert list((tmp_path / "staging").iterdir()) == []


async def test_an_upload_above_the_limit_is_refused_at_the_byte(tmp_path: Path) -> None:
    async with Staging(tmp_path / "staging").open(SizeLimit(10)) as file:
        await file.write(b"0123456789")
        with pytest.raises(TooLarge, match="at most 10 bytes"):
            await file.write(b"!")
    assert list((tmp_path / "staging").iterdir()) == []


async def test_an_empty_upload_is_a_blob_too(tmp_path: Path) -> None:
    async with Staging(tmp_path / "staging").open() as file:
        staged = await file.finish()
        assert (staged.bytes, staged.sha256) == (0, hashlib.sha256().hexdigest())


def test_what_dead_processes_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "left").write_bytes(b"half")
    assert staged_uploads.clear(tmp_path / "staging") == 1
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.parametrize("part", ["staging", "copy"])
def test_a_write_beyond_the_disk_is_storage_full_and_leaves_nothing(tmp_path: Path, part: str) -> None:
    """The file size limit of a process stands for the disk's end: the same failing write."""
    script = """
import asyncio, os, resource, sys
from pathlib import Path
from app.storage.errors import StorageFull
from app.storage.local import LocalStore
from app.storage.staging import Staging
root, part = Path(sys.argv[1]), sys.argv[2]
async def stage():
    async with Staging(root / "out").open() as file:
        await file.write(bytes(3 << 20))
        await file.finish()
async def copy():
    source = Path("/dev/shm") / f"stillhouse-full-{os.getpid()}"
    source.write_bytes(bytes(3 << 20))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        await LocalStore(root / "out").put(source, "ab" * 32)
    finally:
        source.unlink()
if part == "staging":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    asyncio.run(stage() if part == "staging" else copy())
except StorageFull as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), part], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("the disk of the service's files is full")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_what_is_announced_reserves_nothing_and_what_arrives_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = 100 * BLOCK
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=disk))  # others write to the real one
    space = Space(tmp_path, margin=0)
    with ExitStack() as stack:
        idle = [stack.enter_context(space.reservation(disk)) for _ in range(4)]
        assert space.free() == disk
        idle[0].take(1)
        idle[0].take(BLOCK - 1)
        assert space.free() == disk - BLOCK
        for _ in range(20):
            idle[1].take(BLOCK)
        assert space.free() == disk - 2 * BLOCK
    assert space.free() == disk


def test_what_does_not_fit_is_refused_as_it_is_announced_and_as_it_arrives(tmp_path: Path) -> None:
    space = Space(tmp_path, margin=0)
    free = space.free()
    with pytest.raises(StorageFull, match="delete models or datasets"), space.reservation(2 * free):
        pass
    with space.reservation() as reservation, pytest.raises(StorageFull):
        reservation.take(2 * free)


def test_the_margin_is_never_promised(tmp_path: Path) -> None:
    space = Space(tmp_path, margin=1 << 60)
    with pytest.raises(StorageFull, match="0 free"), space.reservation(1):
        pass
    with space.reservation() as reservation, pytest.raises(StorageFull, match="0 free"):
        reservation.take(1)


@pytest.mark.parametrize(("sha256", "key"), [("ab" + "c" * 62, "ab/" + "c" * 62)])
def test_keys_spread_over_folders(sha256: str, key: str) -> None:
    assert key_of(sha256) == key
