"""Hostile safetensors files: refused by our own reading of the header, before any library sees them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from app.contracts.problems import UserError
from tests.engine.jobs.inspection.uploads import MLP, framed, model_manifest, mutations, refused, weights
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.models.safetensors_header import MOST_HEADER_BYTES, MOST_TENSORS, read_header

Header = dict[str, Any]
SIXTEEN = bytes(16)


def entry(shape: Any = (4,), start: Any = 0, end: Any = 16, dtype: Any = "F32") -> Header:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return path


HOSTILE: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "found 0"),
    "seven bytes": (b"\2\0\0\0\0\0\0", "found 7"),
    "a header past the file": (framed({"a": entry()}, b"")[:20], "the header claims"),
    "a header of 2^63 bytes": (b"\0\0\0\0\0\0\0\x80{}", "the header claims 9223372036854775808 bytes"),
    "no JSON": (framed(b"{'a': 1}", b""), "no JSON object"),
    "a list": (framed(b"[]", b""), "no JSON object"),
    "bad UTF-8": (framed(b'{"\xff": 1}', b""), "no JSON object"),
    "UTF-16": (framed(json.dumps({"a": entry()}).encode("utf-16"), SIXTEEN), "no JSON object"),
    "a byte order mark": (framed(b"\xef\xbb\xbf{}", b""), "no JSON object"),
    "NaN in the header": (framed(b'{"a": NaN}', b""), "no JSON object"),
    "deep nesting": (framed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""), "no JSON object"),
    "ten thousand digits": (framed(b'{"a": ' + b"9" * 10_000 + b"}", b""), "no JSON object"),
    "metadata that are no text": (framed({"__metadata__": {"a": {"b": 1}}, "a": entry()}, SIXTEEN), "__metadata__"),
    "metadata that are a list": (framed({"__metadata__": ["a"], "a": entry()}, SIXTEEN), "__metadata__"),
    "a name twice": (
        framed(b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}", SIXTEEN),
        "a key twice",
    ),
    "a field twice": (
        framed(b'{"a":{"dtype":"F32","dtype":"I8","shape":[4],"data_offsets":[0,16]}}', SIXTEEN),
        "a key twice",
    ),
    "an entry that is a number": (framed({"a": 1}, b""), "needs dtype, shape and data_offsets"),
    "an entry without shape": (framed({"a": {"dtype": "F32", "data_offsets": [0, 16]}}, SIXTEEN), "needs dtype"),
    "three offsets": (framed({"a": entry() | {"data_offsets": [0, 8, 16]}}, SIXTEEN), "needs dtype"),
    "a dtype that is a list": (framed({"a": entry(dtype=[])}, SIXTEEN), "F32"),
    "a dtype of four bits": (framed({"a": entry(dtype="F4")}, SIXTEEN), "has the dtype 'F4'"),
    "a shape that is a number": (framed({"a": entry(4)}, SIXTEEN), "impossible shape"),
    "a negative side": (framed({"a": entry([-4])}, SIXTEEN), "impossible shape"),
    "a side that is true": (framed({"a": entry([4, True])}, SIXTEEN), "impossible shape"),
    "a side that is 4.0": (framed({"a": entry([4.0])}, SIXTEEN), "impossible shape"),
    "nine dimensions": (framed({"a": entry([4, *[1] * 8])}, SIXTEEN), "impossible shape"),
    "the shape (0, 2^62)": (framed({"a": entry([0, 2**62], 0, 0)}, b""), "impossible shape"),
    "a shape that overflows 64 bits to nothing": (framed({"a": entry([2**31 - 1] * 3 + [0], 0, 0)}, b""), "shape"),
    "a shape that overflows to its size": (framed({"a": entry([2**32, 2**32, 4])}, SIXTEEN), "impossible shape"),
    "more bytes than the shape has": (framed({"a": entry([3])}, SIXTEEN), "16 bytes of data for shape [3]"),
    "fewer bytes than the shape has": (framed({"a": entry([5])}, SIXTEEN), "16 bytes of data for shape [5]"),
    "data past the file": (framed({"a": entry([4], 16, 32)}, SIXTEEN), "outside the file"),
    "offsets in reverse": (framed({"a": entry([4], 16, 0)}, SIXTEEN), "outside the file"),
    "a negative offset": (framed({"a": entry([4], -16, 0)}, SIXTEEN), "outside the file"),
    "offsets that are true": (framed({"a": entry([], False, True, "I8")}, b"\0"), "outside the file"),
    "an overlap": (framed({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)), "overlap or hole"),
    "the same data twice": (framed({"a": entry(), "b": entry()}, SIXTEEN), "overlap or hole"),
    "a hole": (framed({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)), "overlap or hole"),
    "a hole at the beginning": (framed({"a": entry([1], 4, 8)}, bytes(8)), "overlap or hole"),
    "trailing bytes": (framed({"a": entry()}, bytes(17)), "1 bytes after the last tensor"),
    "too many tensors": (
        framed({f"a{i}": entry([0], 0, 0) for i in range(MOST_TENSORS + 1)}, b""),
        f"{MOST_TENSORS + 1} tensors",
    ),
    "a header above the bound": (
        framed(b"{" + b" " * MOST_HEADER_BYTES + b"}", b""),
        f"{MOST_HEADER_BYTES} at most",
    ),
}
NAMES = ["../../etc/passwd", "/etc/passwd", "a/b", "a\0b", "a\n", "", ".hidden", "-a", "a b", "é", "\ud800", "x" * 257]


@pytest.mark.parametrize("trap", HOSTILE)
def test_a_hostile_header_is_refused_with_what_was_found(trap: str, tmp_path: Path) -> None:
    content, expected = HOSTILE[trap]
    assert expected in refused("unreadable", lambda: read_header(written(tmp_path, content)))


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_is_a_path_or_no_name_is_refused_and_not_repeated(name: str, tmp_path: Path) -> None:
    message = refused("unreadable", lambda: read_header(written(tmp_path, framed({name: entry()}, SIXTEEN))))
    assert "name must be letters" in message
    assert not name or name not in message


def test_a_file_without_a_tensor_is_an_empty_model(tmp_path: Path) -> None:
    refused("empty_model", lambda: read_header(written(tmp_path, framed({"__metadata__": {"a": "b"}}, b""))))


def test_a_sound_file_is_read_as_it_stands(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.zeros(3, 2), "b": torch.tensor(1, dtype=torch.int64), "c": torch.zeros(0, 5).half()}
    found = read_header(written(tmp_path, save(tensors, {"note": "text"})))
    assert {name: (header.dtype, header.shape) for name, header in found.items()} == {
        "a.weight": ("F32", (3, 2)),
        "b": ("I64", ()),
        "c": ("F16", (0, 5)),
    }


def test_whatever_our_reading_accepts_the_library_loads_with_the_same_names_and_shapes(tmp_path: Path) -> None:
    """Otherwise the library's own error would crash an inspection that should have refused the file."""
    sound, accepted = save(weights(), {"note": "text"}), 0
    for content in mutations(sound, 1500):
        path = written(tmp_path, content)
        try:
            found = read_header(path)
        except UserError:
            continue
        accepted += 1
        loaded = load_file(path)
        assert {name: tuple(value.shape) for name, value in loaded.items()} == {n: e.shape for n, e in found.items()}
    assert 50 < accepted < 1000


NOT_FINITE: dict[str, Callable[[], torch.Tensor]] = {
    "NaN": lambda: torch.tensor([0.0, torch.nan, 0.0]),
    "infinity": lambda: torch.tensor([0.0, torch.inf, 0.0]),
    "half NaN": lambda: torch.tensor([0.0, torch.nan, 0.0]).half(),
    "bfloat16 infinity": lambda: torch.tensor([0.0, 0.0, -torch.inf]).bfloat16(),
    "double 1e308, infinite as float32": lambda: torch.tensor([0.0, 1e308, 0.0], dtype=torch.float64),
}


@pytest.mark.parametrize("what", NOT_FINITE)
def test_a_weight_that_is_not_finite_is_refused_by_its_name(what: str, tmp_path: Path) -> None:
    path = written(tmp_path, save(weights() | {"layers.0.bias": NOT_FINITE[what]()}))
    assert "`layers.0.bias`" in refused("not_finite", lambda: inspect_family_model(path, model_manifest()))


def test_weights_that_are_finite_but_overflow_on_the_way_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, save({name: torch.full_like(value, 3e38) for name, value in weights().items()}))
    refused("not_finite", lambda: inspect_family_model(path, model_manifest()))


def test_integer_weights_are_refused_by_name_and_type(tmp_path: Path) -> None:
    path = written(tmp_path, save(weights() | {"layers.0.bias": torch.zeros(3, dtype=torch.int8)}))
    assert "`layers.0.bias` holds torch.int8" in refused(
        "wrong_type", lambda: inspect_family_model(path, model_manifest())
    )


def test_a_small_file_under_a_giant_architecture_takes_no_memory(tmp_path: Path) -> None:
    """The network of this manifest has 34 GB of weights; the file has four tensors of it."""
    save_file(weights(), tmp_path / "model.safetensors")
    manifest = model_manifest(architecture=MLP | {"hidden": [16_384] * 32})
    message = refused("missing_parameters", lambda: inspect_family_model(tmp_path / "model.safetensors", manifest))
    assert "`layers.2.weight`" in message
    assert "and 52 more" in message
