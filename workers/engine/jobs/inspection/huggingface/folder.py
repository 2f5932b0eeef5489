"""The files of a folder of transformers in a zip: JSON documents and safetensors weights."""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.problems import UserError, listed
from workers.engine.data.formats.common import ZIP_DAMAGES
from workers.engine.models.safetensors_header import read_header

MAX_BYTES = 8 << 30
MAX_MEMBERS = 200
MAX_RATIO = 1100
"""Largest compression of deflate, with a margin."""
MAX_JSON_BYTES = 4 << 20
MODULES = "modules.json"
_CONFIG = "config.json"
_OWNERS = "sentence_transformers."
PROCESSOR = "preprocessor_config.json"
_SEVERAL_PROCESSORS = "processor_config.json"
_PICKLES = (".bin", ".pt", ".pth", ".msgpack", ".h5")


@dataclass(frozen=True)
class Folder:
    """The files of a zip beside its `config.json`, read in bounded sizes. Errors are UserErrors."""

    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]
    """The files beside `config.json`, by their bare names."""
    place: str = ""
    """Its path in the zip."""
    whole: "Folder | None" = None
    """The folder with `modules.json`, where a folder in it has the transformer."""

    @classmethod
    def of(cls, archive: zipfile.ZipFile, size: int) -> "Folder":
        """The folder of the outermost `config.json`, or that of the transformer that `modules.json` beside or above it
        names.
        """
        entries = _files(archive)
        claimed = sum(entry.file_size for entry in entries)
        if len(entries) > MAX_MEMBERS or claimed > min(MAX_BYTES, size * MAX_RATIO):
            raise unreadable(f"{len(entries)} files of {claimed} bytes, {MAX_MEMBERS} and {MAX_BYTES} at most")
        if any(entry.flag_bits & 1 for entry in entries):
            raise unreadable("the zip archive is encrypted")
        configs = [entry for entry in entries if entry.filename.rpartition("/")[2] == _CONFIG]
        if not configs:
            raise unreadable(f"the zip has no `{_CONFIG}`: zip the folder that `save_pretrained` writes")
        whole = cls._at(archive, entries, _outermost(entries))
        found = whole._transformer()
        if len(configs) > 1 and not whole.has_modules(configs):
            raise unreadable(
                f"the zip has {len(configs)} files `{_CONFIG}`, expected one, or those of the modules that "
                f"`{MODULES}` beside them names: zip the folder of one model, as `save_pretrained` writes it"
            )
        if _CONFIG not in found.members:
            raise unreadable(
                f"`{MODULES}` says that the transformer is in `{found.place[:100]}`, where no `{_CONFIG}` is: save the "
                "model again by sentence-transformers"
            )
        return found

    def has_modules(self, configs: Sequence[zipfile.ZipInfo]) -> bool:
        """Whether all these configurations may be those of modules of sentence-transformers in it."""
        prefix = f"{self.place}/" if self.place else ""
        return MODULES in self.members and all(each.filename.startswith(prefix) for each in configs)

    def modules(self) -> dict[str, str]:
        """Kind of module of sentence-transformers -> its folder in this one, "" for this one, in their order; empty
        where `modules.json` is not there.
        """
        content = self.content(MODULES, MAX_JSON_BYTES)
        if content is None:
            return {}
        try:
            found = json.loads(content.decode())
        except (ValueError, RecursionError):
            raise unreadable(f"`{MODULES}` is no JSON") from None
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise unreadable(f"`{MODULES}` is no list of modules")
        kinds = [str(each.get("type")) for each in found]
        names = [kind.rpartition(".")[2] if kind.startswith(_OWNERS) else kind for kind in kinds]
        places = [str(each.get("path", "")) for each in found]
        if len(set(names)) < len(names) or any("/" in place or place.startswith(".") for place in places):
            raise UserError(
                "unsupported_config",
                f"{MODULES}: it has {listed(names)} in the folders {listed(places)}, expected each kind once, in a "
                "folder beside it: export the model to ONNX with an output of its vectors",
            )
        return dict(zip(names, places, strict=True))

    def _transformer(self) -> "Folder":
        """The folder of the module Transformer in it, or itself where that has none of its own."""
        place = self.modules().get("Transformer", "")
        return replace(self.inner(place), whole=self) if place else self

    @classmethod
    def _at(cls, archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], place: str) -> "Folder":
        inside = [entry for entry in entries if entry.filename.rpartition("/")[0] == place]
        members = {entry.filename.rpartition("/")[2]: entry for entry in inside}
        if len(members) != len(inside):
            raise unreadable("the zip has two files of the same name")
        return cls(archive, members, place)

    def inner(self, name: str) -> "Folder":
        """The folder of this name in it; without files where there is none."""
        entries = _files(self.archive)
        return self._at(self.archive, entries, f"{self.place}/{name}" if self.place else name)

    def content(self, name: str, most: int) -> bytes | None:
        """A file of `most` bytes or less; None where there is no such file."""
        entry = self.members.get(name)
        if entry is None:
            return None
        if entry.file_size > most:
            raise unreadable(f"`{name}` has {entry.file_size} bytes, {most} at most")
        with reading():
            return self.archive.read(entry)

    def document(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is no such file."""
        content = self.content(name, MAX_JSON_BYTES)
        if content is None:
            return {}
        try:
            found = json.loads(content.decode())
        except (ValueError, RecursionError):
            raise unreadable(f"`{name}` is no JSON") from None
        if not isinstance(found, dict):
            raise unreadable(f"`{name}` is no JSON object")
        return found

    def processor(self, part: str) -> dict[str, Any]:
        """What prepares rows: `preprocessor_config.json`, else this part of `processor_config.json`, which has those of
        several kinds, such as `feature_extractor`. Empty where there is neither.
        """
        alone = self.document(PROCESSOR)
        found = alone or self.document(_SEVERAL_PROCESSORS).get(part, {})
        if not isinstance(found, dict):
            raise unreadable(f"`{part}` of `{_SEVERAL_PROCESSORS}` is no JSON object")
        return found

    def weights(self, scratch: Path) -> dict[str, Tensor]:
        """All tensors of the safetensors files: of `model.safetensors`, or of those that an index names."""
        index = self.document("model.safetensors.index.json").get("weight_map")
        shards = sorted({str(each) for each in index.values()}) if isinstance(index, dict) else ["model.safetensors"]
        found: dict[str, Tensor] = {}
        for name in shards:
            tensors = self._shard(name, scratch / "shard.safetensors")
            doubled = sorted(set(found) & set(tensors))
            if doubled:
                raise unreadable(f"{listed(doubled)} are in two files")
            found |= tensors
        return found

    def _shard(self, name: str, copy: Path) -> dict[str, Tensor]:
        entry = self.members.get(name)
        if entry is None:
            pickles = [each for each in self.members if each.endswith(_PICKLES)]
            instead = f" ({listed(pickles)} can carry code)" if pickles else ""
            raise unreadable(f"expected `{name[:100]}` beside `config.json`{instead}: save as safetensors")
        with reading():
            source = self.archive.open(entry)
        with source, copy.open("wb") as target:
            while chunk := _read(source):
                target.write(chunk)
        read_header(copy)
        try:
            return {key: value.clone() for key, value in load_file(copy).items()}
        except SafetensorError as error:
            raise unreadable(f"`{name}` is no sound safetensors file: {error}") from None


def _outermost(entries: Sequence[zipfile.ZipInfo]) -> str:
    """The path of the outermost folder that says what it is."""
    named = [each.filename for each in entries if each.filename.rpartition("/")[2] in (_CONFIG, MODULES)]
    return min(named, key=lambda each: each.count("/")).rpartition("/")[0]


def _files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries that are no folders; of Python below 3.12 `is_dir` fails for a name of no characters."""
    return [entry for entry in archive.infolist() if not entry.filename.endswith("/")]


@contextmanager
def reading() -> Iterator[None]:
    """Raises UserError `unreadable` for whatever zipfile raises, in which nothing else may be done: a disk that is full
    is no damage of the archive.
    """
    try:
        yield
    except ZIP_DAMAGES:
        raise unreadable("the zip archive is damaged, encrypted, or compressed in an unknown way") from None


def _read(source: IO[bytes]) -> bytes:
    with reading():
        return source.read(1 << 20)


def unreadable(detail: str) -> UserError:
    """A UserError with code `unreadable`."""
    return UserError("unreadable", f"not a folder of transformers: {detail}")
