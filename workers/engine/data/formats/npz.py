"""npz archives of numpy: no pickles, every claimed size checked before anything is allocated."""

import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from app.contracts.problems import UserError
from workers.engine.data.formats.common import MOST_BYTES, Array, refuse, require

INFLATION = 1100
"""deflate cannot do better than about 1030 : 1: a larger claim is a lie."""
MOST_SIDE = 1 << 40
MOST_DIMENSIONS = 8


def read_npz(path: Path, wanted: set[str]) -> dict[str, Array]:
    """Its arrays of these names. Raises UserError as `read_arrays` does."""
    size = path.stat().st_size
    try:
        if not zipfile.is_zipfile(path):
            raise refuse("not an npz archive (a zip of npy arrays)")
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if len(members) != len(archive.namelist()):
                raise refuse("the archive names an array twice")
            return {name: _npy(archive, members[name], size) for name in require(wanted, list(members))}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, ValueError):
        raise refuse("the npz archive is damaged") from None


def _npy(archive: zipfile.ZipFile, member: str, size: int) -> Array:
    entry = archive.getinfo(member)
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refuse(f"`{member}` is encrypted or compressed in another way than numpy.savez_compressed does")
    told = entry.file_size
    if told > min(MOST_BYTES, size * INFLATION):
        raise refuse(f"`{member}` claims {told} bytes in an archive of {size}")
    with archive.open(member) as file:
        shape, fortran, dtype = _npy_header(file, member)
        if 0 in shape:
            return np.empty((shape[0], 0) if shape[0] else 0, dtype)
        needed = prod(shape) * dtype.itemsize
        if needed > told:
            raise refuse(f"`{member}` claims shape {shape} of {dtype} in {told} bytes")
        data = file.read(needed)
    if len(data) != needed:
        raise refuse(f"`{member}` ends too early")
    flat = np.frombuffer(bytearray(data), dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _npy_header(file: IO[bytes], member: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except MemoryError:
        raise
    except Exception:  # numpy reads a header as Python does, and lets through whatever its tokenizer raises
        raise refuse(f"`{member}` is no npy array of version 1 or 2") from None
    if dtype.hasobject:
        raise UserError("code_carrying_format", f"`{member}` holds pickled objects: save numbers or strings")
    if dtype.kind not in "biufU" or dtype.itemsize == 0 or not 1 <= len(shape) <= MOST_DIMENSIONS:
        raise refuse(f"`{member}` has dtype {dtype} and shape {shape}: rows of numbers or strings are read")
    if not all(type(side) is int and 0 <= side < MOST_SIDE for side in shape):
        raise refuse(f"`{member}` has the impossible shape {shape}")
    return shape, fortran, dtype
