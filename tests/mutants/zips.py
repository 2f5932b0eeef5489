"""Changes of zip and tar archives: members that are damaged, exchanged, renamed, doubled, or of false sizes."""

import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random

from tests.mutants.plain_bytes import NUMBERS, Change, changed_bytes

Members = list[tuple[str, bytes]]
NAMES = (
    "../up.png",
    "/abs.png",
    "a/../../b.png",
    "c:\\x.png",
    "0/.hidden.png",
    "0//00.png",
    "./0/00.png",
    "0/\x01.png",
    "0/\u202eexe.png",
    "0/" + "n" * 300 + ".png",
    "metadata.csv",
    "label.npy",
    "x",
    "",
    "archive/data.pkl",
    "archive/constants.pkl",
    "0/00.gif",
    "train/0/00.png",
)
_ZIP_SIGNATURES = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")


def _of_zip(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(member.filename, archive.read(member)) for member in archive.infolist()]


def as_zip(members: Members, compression: int) -> bytes:
    """An archive of these files, the same at any time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            with warnings.catch_warnings(action="ignore"):  # of a name that is there twice
                archive.writestr(zipfile.ZipInfo(name or " "), content, compression)
    return file.getvalue()


def _of_tar(content: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [(entry.name, (file.read() if (file := archive.extractfile(entry)) else b"")) for entry in archive]


def _as_tar(members: Members) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _damaged(members: Members, draw: Random) -> Members:
    """One member's content is changed; its checksum is right."""
    place = draw.randrange(len(members))
    name, content = members[place]
    for _ in range(draw.choice((1, 1, 2, 3))):
        content = _of_member(content, draw)
    return [*members[:place], (name, content), *members[place + 1 :]]


def _of_member(content: bytes, draw: Random) -> bytes:
    if content.startswith(b"\x93NUMPY") and draw.random() < 0.6:
        return _other_array(content, draw)
    if content.startswith(b"\x89PNG") and len(content) > 33 and draw.random() < 0.4:
        return _other_png(content, draw)
    return changed_bytes(content, draw)


def _other_array(content: bytes, draw: Random) -> bytes:
    """The header of an array says something else."""
    end = 10 + struct.unpack("<H", content[8:10])[0]
    header = content[10:end].decode("latin-1").rstrip()
    before, after = draw.choice(
        (
            (
                "'<f4'",
                draw.choice(
                    ("'|O'", "'<f8'", "'>f4'", "'<f2'", "'<c8'", "'<U1'", "'|V4'", "'<i4'", "'|b1'", "'<m8[s]'")
                ),
            ),
            ("'<i8'", draw.choice(("'<u8'", "'>i8'", "'<f8'", "'<M8[ns]'", "'|S8'", "'|O'", "'<U2'"))),
            (
                "(24,",
                draw.choice(
                    ("(23,", "(25,", "(0,", "(-1,", "(9223372036854775807,", "(1099511627776,", "(True,", "(24.0,")
                ),
            ),
            ("2)", draw.choice(("1)", "3)", "0)", "4294967296)", "-2)", "2, 1)", "1, 2)"))),
            ("False", draw.choice(("True", "0", "None", "__import__('os')"))),
            ("'descr'", "'descry'"),
            ("}", draw.choice(("", ", 'more': 1}", "}}"))),
        )
    )
    new = header.replace(before, after, 1).encode("latin-1")
    new += b" " * (-(len(new) + 11) % 64) + b"\n"
    return content[:8] + struct.pack("<H", len(new)) + new + content[end:]


def _other_png(content: bytes, draw: Random) -> bytes:
    """The header of a PNG says another size, depth or colour; its checksum is right."""
    fields = list(struct.unpack(">IIBBBBB", content[16:29]))
    place = draw.randrange(len(fields))
    fields[place] = draw.choice(NUMBERS) & 0x7FFFFFFF if place < 2 else draw.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    header = b"IHDR" + struct.pack(">IIBBBBB", *fields)
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def _exchanged(members: Members, draw: Random) -> Members:
    """Two contents change places."""
    one, two = draw.randrange(len(members)), draw.randrange(len(members))
    changed = list(members)
    changed[one], changed[two] = (members[one][0], members[two][1]), (members[two][0], members[one][1])
    return changed


def _renamed(members: Members, draw: Random) -> Members:
    place = draw.randrange(len(members))
    changed = list(members)
    changed[place] = (draw.choice((*NAMES, members[draw.randrange(len(members))][0])), members[place][1])
    return changed


def _doubled(members: Members, draw: Random) -> Members:
    return [*members, draw.choice(members)]


def _dropped(members: Members, draw: Random) -> Members:
    place = draw.randrange(len(members))
    return members[:place] + members[place + 1 :]


def _added(members: Members, draw: Random) -> Members:
    content = draw.choice((b"", draw.randbytes(40), bytes(1 << 20), draw.choice(members)[1]))
    return [*members, (draw.choice(NAMES), content)]


def _shuffled(members: Members, draw: Random) -> Members:
    return draw.sample(members, len(members))


MEMBERS: Sequence[Callable[[Members, Random], Members]] = (
    _damaged,
    _damaged,
    _damaged,
    _exchanged,
    _renamed,
    _doubled,
    _dropped,
    _added,
    _shuffled,
)


def zip_members(content: bytes, draw: Random) -> bytes:
    """The archive is written again with other members."""
    compression = zipfile.ZIP_DEFLATED if draw.random() < 0.2 else zipfile.ZIP_STORED
    return as_zip(draw.choice(MEMBERS)(_of_zip(content), draw), compression)


def tar_members(content: bytes, draw: Random) -> bytes:
    """The archive is written again with other members."""
    return _as_tar(draw.choice(MEMBERS)(_of_tar(content), draw))


def false_zip_field(content: bytes, draw: Random) -> bytes:
    """A field of a directory's entry, of a member's head, or of the directory's end is another number."""
    signature = draw.choice(_ZIP_SIGNATURES)
    places = [place for place in range(len(content)) if content.startswith(signature, place)]
    start = draw.choice(places) + 4 + 2 * draw.randrange(20)
    size = draw.choice((2, 4))
    number = draw.choice((*NUMBERS, len(content), 8, 12, 14, 93, 99)) & ((1 << (8 * size)) - 1)
    return content[:start] + number.to_bytes(size, "little") + content[start + size :]


def false_tar_header(content: bytes, draw: Random) -> bytes:
    """A field of a member's header is another one, and the checksum is right."""
    places = [place for place in range(0, len(content), 512) if content[place + 257 : place + 262] == b"ustar"]
    if not places:
        return content[512:]
    start = draw.choice(places)
    header = bytearray(content[start : start + 512])
    field, values = draw.choice(
        (
            (124, (b"77777777777\0", b"00000000000\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"zzzzzzzzzzz\0")),
            (156, (b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"x", b"g", b"L", b"K", b"S", b"\xff")),
            (0, tuple(name.encode()[:99] + b"\0" for name in NAMES)),
            (157, (b"/etc/passwd\0", b"../../x\0")),
            (345, (b"../..\0", b"/etc\0", b"n" * 155)),
            (257, (b"\0" * 8, b"ustar  \0")),
        )
    )
    value = draw.choice(values)
    header[field : field + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return content[:start] + bytes(header) + content[start + 512 :]


ZIP: tuple[Change, ...] = (zip_members, zip_members, false_zip_field)
TAR: tuple[Change, ...] = (tar_members, tar_members, false_tar_header, false_tar_header)
