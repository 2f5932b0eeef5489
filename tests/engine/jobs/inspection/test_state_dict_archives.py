"""State_dicts that lie about their size, hold something else, or are damaged: refused, in bounded memory."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.problems import UserError
from tests.engine.jobs.inspection.torch_archives import Called, archive, claimed, converted, pickled, rewritten, same
from tests.engine.jobs.inspection.uploads import model_manifest, mutations, refused, weights
from workers.engine.jobs.inspection.family_models import inspect_family_model


def test_members_that_are_deflated_are_refused_before_they_grow(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(64 << 20, dtype=torch.int8)}, tmp_path / "m.pt")
    bomb = rewritten(tmp_path / "m.pt", lambda _, content: content, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 200_000
    message = refused("unreadable", lambda: converted(bomb, tmp_path), more=32 << 20)
    assert "stored, not compressed" in message


LIES: dict[str, dict[str, Any]] = {
    "more numbers than the record": {"size": (30, 4)},
    "2^62 numbers": {"size": (2**31, 2**31)},
    "a size that overflows": {"size": (2**62, 4), "stride": (0, 0)},
    "an offset past the record": {"offset": 100},
    "a negative offset": {"offset": -1},
    "a negative stride": {"stride": (-4, 1), "offset": 8},
    "a stride of 2^62": {"size": (2, 2), "stride": (2**62, 1)},
    "a negative size": {"size": (-3, 4)},
    "a storage of more numbers than the record": {"numbers": 1200},
    "a storage of fewer": {"numbers": 3},
    "a storage of a negative number": {"numbers": -12},
    "a storage of 2^61 more numbers, which overflow to its bytes": {"numbers": 2**61 + 12},
    "a record that is a path": {"key": "../../etc/passwd"},
    "stride 0 over more than the record": {"size": (2**40,), "stride": (0,)},
    "a shape (0, 2^40)": {"size": (0, 2**40), "stride": (1, 1)},
}


def test_the_same_archive_without_a_lie_is_read(tmp_path: Path) -> None:
    assert same(converted(archive(tmp_path, claimed()), tmp_path), {"a": torch.ones(3, 4)})


@pytest.mark.parametrize("lie", LIES)
def test_a_tensor_that_claims_what_the_file_has_not_is_refused(lie: str, tmp_path: Path) -> None:
    def attempt() -> None:
        converted(archive(tmp_path, claimed(**LIES[lie])), tmp_path)
        assert lie == "a shape (0, 2^40)", "the library writes it; the header's reader refuses it"
        inspect_family_model(tmp_path / "converted.safetensors", model_manifest(format="state_dict"))

    refused("unreadable", attempt)


@pytest.mark.parametrize("size", [0, 16, 4800])
def test_a_record_of_another_size_than_the_storage_claims_is_refused(size: int, tmp_path: Path) -> None:
    refused("unreadable", lambda: converted(archive(tmp_path, records={"data/0": bytes(size)}), tmp_path))


def test_a_file_that_claims_2_to_the_40_numbers_is_refused(tmp_path: Path) -> None:
    message = refused("unreadable", lambda: converted({"a": torch.zeros(1).expand(2**40)}, tmp_path))
    assert "`a` claims more numbers" in message


def test_one_storage_under_many_names_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    """600 names over 16 MiB are 10 GB; the file has 16 MiB."""
    one = torch.zeros(4 << 20)
    assert "together claim" in refused(
        "unreadable", lambda: converted({f"a{i}": one for i in range(600)}, tmp_path), more=256 << 20
    )
    tied = converted({"encoder": weights()["layers.0.weight"], "decoder": weights()["layers.0.weight"]}, tmp_path)
    assert torch.equal(tied["encoder"], tied["decoder"]), "tied weights are read"


STRANGE: dict[str, Callable[[], Tensor]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed sparse": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "without data (meta)": lambda: torch.empty(3, device="meta"),
    "2^40 numbers without data": lambda: torch.empty(2**40, device="meta"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("what", STRANGE)
def test_a_tensor_that_is_not_dense_numbers_is_refused_by_name(what: str, tmp_path: Path) -> None:
    message = refused("unreadable", lambda: converted({"odd": STRANGE[what]()}, tmp_path))
    assert "`odd`" in message


OTHERS: dict[str, Any] = {
    "a list": [torch.ones(3)],
    "a tensor": torch.ones(3),
    "nothing": {},
    "a name that is a number": {1: torch.ones(3)},
    "a name that is a path": {"../a": torch.ones(3)},
    "a name with a line break": {"a\n": torch.ones(3)},
    "no archive": b"not a zip",
    "an empty file": b"",
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_state_dict_is_refused(what: str, tmp_path: Path) -> None:
    code = "code_carrying_format" if isinstance(OTHERS[what], bytes) else "unreadable"
    refused(code, lambda: converted(OTHERS[what], tmp_path))


BROKEN = {
    "nothing": b"",
    "an end without a value": b"\x80\x02.",
    "a value set on nothing": b"\x80\x02}K\x01s.",
    "half a number": b"\x80\x02J.",
    "a record that is a number": b"\x80\x02K\x01Q.",
    "a memo of nothing": b"\x80\x02h\x05.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "a name that is no UTF-8": b"\x80\x02X\x02\0\0\0\xff\xff.",
    "a rebuilt parameter of a number": pickled({"a": Called(torch._utils._rebuild_parameter, 1, False, {})}),
}


@pytest.mark.parametrize("trap", BROKEN)
def test_a_broken_pickle_is_refused_whatever_its_reader_raises(trap: str, tmp_path: Path) -> None:
    refused("unreadable", lambda: converted(archive(tmp_path, BROKEN[trap]), tmp_path))


def test_a_damaged_archive_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """Its directory, its names, its flags, its pickle: each raises something of its own in Python or in torch."""
    torch.save(weights(), tmp_path / "m.pt")
    codes = set()
    for content in mutations((tmp_path / "m.pt").read_bytes(), 400):
        try:
            converted(content, tmp_path)
        except UserError as error:
            codes.add(error.code)
    assert codes == {"unreadable", "code_carrying_format"}
