"""Changes that know a format: headers of safetensors, graphs of ONNX, text of tables, types of parquet."""

import io
import json
import struct
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import onnx
import pyarrow as pa
import pyarrow.parquet

from tests.mutants.manifests import changed_json
from tests.mutants.plain_bytes import PLAIN, Change
from tests.mutants.sound import Structure
from tests.mutants.zips import TAR, ZIP

_HEADER = struct.Struct("<Q")


Header = dict[str, Any]


def tensor_header(content: bytes, draw: Random) -> bytes:
    """The header of safetensors says something else; its length is right."""
    if len(content) < 8 or (size := _HEADER.unpack(content[:8])[0]) > len(content) - 8:
        return content
    try:
        header = json.loads(content[8 : 8 + size])
    except ValueError:
        return content
    names = [name for name in header if isinstance(header[name], dict) and name != "__metadata__"]
    return _framed(draw.choice(_HEADERS)(header, names, draw) if names else {}, content[8 + size :])


def _other_type(header: Header, names: list[str], draw: Random) -> Header:
    kinds = ("F64", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "C64", "f32", 7, None)
    name = draw.choice(names)
    return {**header, name: {**header[name], "dtype": draw.choice(kinds)}}


def _other_shape(header: Header, names: list[str], draw: Random) -> Header:
    name = draw.choice(names)
    shape = header[name]["shape"]
    huge: tuple[Any, ...] = ([1 << 31, 1 << 31], [1 << 62, 4])
    shapes = (shape[::-1], [*shape, 1], shape[1:], [-1, *shape], [0, *shape], [1e3], "4", [True], *huge)
    return {**header, name: {**header[name], "shape": draw.choice(shapes)}}


def _other_place(header: Header, names: list[str], draw: Random) -> Header:
    name = draw.choice(names)
    start, end = header[name]["data_offsets"]
    places = ([end, start], [start, end + 4], [start - 4, end], [0, 1 << 63], [start], [float(start), end], [end, end])
    return {**header, name: {**header[name], "data_offsets": draw.choice((*places, None))}}


def _other_name(header: Header, names: list[str], draw: Random) -> Header:
    name = draw.choice(names)
    others = (f"module.{name}", name[:-1], "../x", "x" * 300, "", "a b", "\u0000", "running_var")
    rest = {each: entry for each, entry in header.items() if each != name}
    return {**rest, draw.choice(others): header[name]}


def _another(header: Header, names: list[str], draw: Random) -> Header:
    name = draw.choice(names)
    return {
        **header,
        draw.choice((f"{name}2", "extra", "__metadata__")): draw.choice((header[name], {}, [], "x", None)),
    }


def _one_less(header: Header, names: list[str], draw: Random) -> Header:
    left_out = draw.choice(names)
    return {name: entry for name, entry in header.items() if name != left_out}


def _exchanged(header: Header, names: list[str], draw: Random) -> Header:
    one, two = draw.choice(names), draw.choice(names)
    return {**header, one: header[two], two: header[one]}


def _any_json(header: Header, names: list[str], draw: Random) -> Any:
    return changed_json(header, draw)


_HEADERS: tuple[Callable[[Header, list[str], Random], Any], ...] = (
    _other_type,
    _other_shape,
    _other_place,
    _other_name,
    _another,
    _one_less,
    _exchanged,
    _any_json,
)


def _framed(header: object, data: bytes) -> bytes:
    raw = json.dumps(header).encode()
    return _HEADER.pack(len(raw)) + raw + data


def other_number(content: bytes, draw: Random) -> bytes:
    """One float32 of the data is NaN, infinite, huge, tiny or negative."""
    if len(content) < 16:
        return content
    start = draw.randrange(8, len(content) - 7)
    start -= (start - len(content)) % 4  # numbers end where the file does
    number = draw.choice((float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e-40, -1.0, -1e-6, 0.0))
    return content[:start] + struct.pack("<f", number) + content[start + 4 :]


def graph(content: bytes, draw: Random) -> bytes:
    """A graph of other nodes, shapes, types or weights."""
    try:
        model = onnx.load_from_string(content)
    except Exception:  # it was changed before and cannot be read
        return content
    made = model.graph
    if made.node and made.initializer and made.input and made.output:
        draw.choice(_GRAPHS)(model, draw)
    changed: bytes = model.SerializeToString(deterministic=True)
    return changed


def _sides(model: onnx.ModelProto, draw: Random) -> None:
    weight = draw.choice(model.graph.initializer)
    sides = list(weight.dims)
    del weight.dims[:]
    weight.dims.extend(draw.choice(([1 << 40, 2], [-1, 2], [0], [2, 3, 1], [], [1 << 62, 1 << 62], sides[::-1])))


def _weight_type(model: onnx.ModelProto, draw: Random) -> None:
    draw.choice(model.graph.initializer).data_type = draw.choice((0, 2, 6, 7, 8, 10, 11, 14, 16, 99, -1))


def _operator(model: onnx.ModelProto, draw: Random) -> None:
    names = ("Relu", "Loop", "If", "Scan", "RandomNormal", "Frob", "", "Softmax", "Shape", "Tile", "NonZero")
    draw.choice(model.graph.node).op_type = draw.choice(names)


def _domain(model: onnx.ModelProto, draw: Random) -> None:
    draw.choice(model.graph.node).domain = draw.choice(("com.microsoft", "ai.onnx.ml", "\u0000", "x" * 900))


def _wire(model: onnx.ModelProto, draw: Random) -> None:
    node = draw.choice(model.graph.node)
    names = [*node.output, *[each.name for each in model.graph.initializer], "x", "", "nowhere"]
    node.input[draw.randrange(len(node.input))] = draw.choice(names)


def _declared(model: onnx.ModelProto, draw: Random) -> None:
    shape = draw.choice((model.graph.input, model.graph.output))[0].type.tensor_type
    draw.choice(shape.shape.dim).dim_value = draw.choice((-1, 0, 1, 5, 7, 1 << 31, 1 << 40))
    shape.elem_type = draw.choice((1, 1, 1, 7, 8, 9, 10, 11, 99))


def _attribute(model: onnx.ModelProto, draw: Random) -> None:
    attributes = [each for node in model.graph.node for each in node.attribute]
    if attributes:
        attribute = draw.choice(attributes)
        attribute.ints[:] = [draw.choice((-1, 0, 1, 9, 1 << 31, 1 << 62)) for _ in attribute.ints]


def _version(model: onnx.ModelProto, draw: Random) -> None:
    model.opset_import[0].version = draw.choice((-1, 0, 1, 7, 13, 25, 9999))
    model.ir_version = draw.choice((0, 1, 3, 9, 99))


def _weight_bytes(model: onnx.ModelProto, draw: Random) -> None:
    weight = draw.choice(model.graph.initializer)
    weight.raw_data = draw.choice((*PLAIN, other_number))(weight.raw_data, draw)


_GRAPHS: tuple[Callable[[onnx.ModelProto, Random], None], ...] = (
    _sides,
    _weight_type,
    _operator,
    _domain,
    _wire,
    _declared,
    _attribute,
    _version,
    _weight_bytes,
)


_CELLS = (
    "", "NaN", "nan", "inf", "-Infinity", "1e999", "-1e-400", "1e38", "-1", "3", "1.5", "null", "None", "true",
    "0x10", "1_000",
    "1,5", '"', '""', '"a', "\u0000", "\ufeff", "\u202e", "9" * 400, "x" * 5000, "2026-01-01", "=cmd()",
    "[1, 2]", '{"a": 1}',
    "\u0661", "\u2212" + "1", " 1 ", "+1", "1e5", "00", "\r", "\n", ";", "\t",
)  # fmt: skip


def text(content: bytes, draw: Random) -> bytes:
    """A cell, a line or the encoding is another one."""
    lines = content.split(b"\n")
    place = draw.randrange(len(lines))
    what = draw.randrange(8)
    if what < 4:
        cells = lines[place].split(b",")
        cells[draw.randrange(len(cells))] = draw.choice(_CELLS).encode("utf-8", "surrogatepass")
        lines[place] = b",".join(cells)
    elif what == 4:
        colon = lines[place].rfind(b":", 0, draw.randint(0, len(lines[place])))
        cell = draw.choice(_CELLS).encode("utf-8", "surrogatepass")
        lines[place] = lines[place][: colon + 1] + cell + lines[place][colon + 1 + len(cell) :]
    elif what == 5:
        lines[place] = draw.choice((b"", lines[place] * 2, lines[place] + b",", lines[0], lines[place][::-1]))
    elif what == 6:
        return content.decode("utf-8", "replace").encode(
            draw.choice(("utf-16", "utf-8-sig", "utf-32", "utf-7")), "replace"
        )
    else:
        return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\n", b"\x0b", b"\xe2\x80\xa8", b"")))
    return b"\n".join(lines)


def table(content: bytes, draw: Random) -> bytes:
    """Parquet with a column of another type, with gaps, twice, or under another name."""
    try:
        found = pyarrow.parquet.read_table(io.BytesIO(content))
        return _rewritten(found, draw)
    except (pa.ArrowException, OSError, ValueError, TypeError):  # what cannot be cast or was changed before
        return content


def _rewritten(found: pa.Table, draw: Random) -> bytes:
    place = draw.randrange(found.num_columns)
    name, column = found.column_names[place], found.column(place)
    what = draw.randrange(7)
    if what == 0:
        kind = draw.choice(
            (pa.int8(), pa.float16(), pa.float64(), pa.string(), pa.large_string(), pa.bool_(), pa.decimal128(38, 20),
             pa.timestamp("ns"), pa.binary(), pa.date32(), pa.uint64(), pa.dictionary(pa.int32(), pa.string()))
        )  # fmt: skip
        found = found.set_column(place, name, column.cast(kind, safe=False))
    elif what == 1:
        values = column.to_pylist()
        values[draw.randrange(len(values))] = draw.choice((None, None, float("nan"), float("inf"), -1, 1e300, 2**62))
        found = found.set_column(place, name, pa.array(values))
    elif what == 2:
        other = draw.choice(("", "a", "label", "x" * 999, "\u0000", "b.c", found.column_names[0]))
        names = list(found.column_names)
        names[place] = other
        found = found.rename_columns(names)
    elif what == 3:
        nested = draw.choice(
            ([[value] for value in column.to_pylist()], [{"bytes": value} for value in column.to_pylist()])
        )
        found = found.set_column(place, name, pa.array(nested))
    elif what == 4:
        found = draw.choice(
            (found.slice(0, 0), found.slice(0, 2), found.remove_column(place), pa.concat_tables([found] * 9))
        )
    elif what == 5:
        found = found.set_column(place, name, pa.nulls(found.num_rows, column.type))
    file = io.BytesIO()
    pyarrow.parquet.write_table(found, file, **_options(draw))
    return file.getvalue()


def _options(draw: Random) -> Mapping[str, Any]:
    return {
        "compression": draw.choice(("none", "snappy", "gzip", "zstd", "brotli", "lz4")),
        "use_dictionary": draw.random() < 0.5,
        "version": draw.choice(("1.0", "2.6")),
        "data_page_version": draw.choice(("1.0", "2.0")),
        "row_group_size": draw.choice((1, 7, 1000)),
    }


CHANGES: Mapping[Structure, tuple[Change, ...]] = {
    "zip": ZIP,
    "tar": TAR,
    "safetensors": (tensor_header, tensor_header, other_number),
    "onnx": (graph,),
    "text": (text,),
    "parquet": (table,),
}
"""Of each format's own."""
