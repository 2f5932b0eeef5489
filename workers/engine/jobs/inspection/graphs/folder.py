"""External data: a zip of the folder that torch.onnx.export writes, merged into one graph.

Locations must be bare names of members of the zip: nothing outside the archive is read.
"""

import zipfile
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from app.contracts.problems import UserError
from workers.engine.data.formats.common import ZIP_DAMAGES
from workers.engine.jobs.inspection.graphs.errors import refuse
from workers.engine.jobs.inspection.graphs.walk import graphs_of, tensors_of

MAX_BYTES = 2_000_000_000
"""Largest size of a graph with all its weights: the limit of a protobuf file."""
MAX_MEMBERS = 1000
MAX_RATIO = 1100
"""Largest compression of deflate, with a margin."""
_OF_DESKTOPS = (".DS_Store", "Thumbs.db", "desktop.ini")
WAY_OUT = (
    "weights are in another file (external data): upload a zip of the folder that has the graph and that file, or save "
    "it as one file: `torch.onnx.export(…, external_data=False)`, `onnx.save(onnx.load(path), new_path)`"
)


def is_zip(path: Path) -> bool:
    """Whether the file begins as a zip does."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def merged(path: Path) -> onnx.ModelProto:
    """The only graph in a zip, with the external data of its tensors inside. Raises UserError `unreadable`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _merged(archive, path.stat().st_size)
    except (*ZIP_DAMAGES, RuntimeError):
        raise refuse("the zip archive is damaged, encrypted, or compressed in an unknown way: pack it again") from None


def _merged(archive: zipfile.ZipFile, size: int) -> onnx.ModelProto:
    files = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    entries = [entry for entry in files if not _is_of_a_desktop(entry.filename)]
    if len(entries) > MAX_MEMBERS:
        raise refuse(f"{len(entries)} files in the zip, {MAX_MEMBERS} at most: save all weights in one file")
    claimed = sum(entry.file_size for entry in entries)
    if claimed > min(MAX_BYTES, size * MAX_RATIO):
        raise refuse(f"the files in the zip have {claimed} bytes, {MAX_BYTES} at most: upload a smaller model")
    graphs = [entry for entry in entries if entry.filename.endswith(".onnx")]
    if len(graphs) != 1:
        raise refuse(
            f"the zip has {len(graphs)} files that end in .onnx, expected one beside its data files: pack each alone"
        )
    members = {entry.filename.rpartition("/")[2]: entry for entry in entries if _folder(entry) == _folder(graphs[0])}
    model = onnx.ModelProto()
    try:
        model.ParseFromString(archive.read(graphs[0]))
    except DecodeError:
        raise refuse("the .onnx file in the zip is not an ONNX protobuf: export it again") from None
    contents: dict[str, bytes] = {}
    total = 0
    for graph in graphs_of(model):
        for tensor in tensors_of(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                total += _read_into(tensor, archive, members, contents, MAX_BYTES - total)
    return model


def _is_of_a_desktop(filename: str) -> bool:
    """Whether macOS or Windows has put the file there, and not an exporter: `__MACOSX/m/._model.onnx`."""
    *folders, name = filename.split("/")
    return "__MACOSX" in folders or name.startswith("._") or name in _OF_DESKTOPS


def _folder(entry: zipfile.ZipInfo) -> str:
    return entry.filename.rpartition("/")[0]


def _read_into(
    tensor: onnx.TensorProto,
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    contents: dict[str, bytes],
    left: int,
) -> int:
    """Move the bytes of one tensor from its file into it; returns their number."""
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "").removeprefix("./")
    if location not in members:
        shown = ", ".join(f"`{name}`" for name in sorted(members)[:10])
        raise refuse(
            f"a tensor's data is in a file `{location[:80]}` that the graph's folder in the zip does not have: a bare "
            f"name of one of its files is expected, there are {shown}"
        )
    if location not in contents:
        contents[location] = archive.read(members[location])
    data = contents[location]
    try:
        offset = int(fields.get("offset", 0))
        length = int(fields["length"]) if "length" in fields else len(data) - offset
    except ValueError:
        raise refuse("offset and length of external data must be whole numbers: save it again with onnx.save") from None
    if offset < 0 or length < 0 or offset + length > len(data) or length > left:
        raise refuse(
            f"external data claims bytes {offset} to {offset + length} of `{location[:80]}`: {len(data)} bytes"
        )
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT
    tensor.raw_data = data[offset : offset + length]
    return length


def write(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph as one file. Raises UserError `unreadable` above the size of a protobuf file."""
    try:
        path.write_bytes(model.SerializeToString(deterministic=True))
    except ValueError:
        raise UserError(
            "unreadable", f"graph and weights exceed {MAX_BYTES} bytes, the size of one ONNX file: quantize them"
        ) from None
