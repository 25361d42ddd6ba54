"""Files that are written whole or not at all, and archives of arrays that are checked before they are read.

Nothing here knows what the files hold, and nothing imports a machine-learning framework. An .npz archive is a zip of .npy files:
its directory and each array's header say what is in it, and only what they say, once it is as expected, is read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_DIRECTORY_BYTES = 1 << 17  # of an archive: over a thousand arrays
_CHUNK = 1 << 20
_END = struct.Struct("<4s4H2LH")  # the record at the end of a zip file
_LONGEST_COMMENT = (1 << 16) - 1
_READERS: dict[tuple[int, int], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
    """What an archive says of one array, before the array is read.

    Parameters
    ----------
    shape
        Its shape.
    dtype
        Its dtype; never one that holds Python objects.
    fortran_order
        Whether the last index changes slowest.
    start
        Bytes of the header itself.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    start: int

    @property
    def size(self) -> int:
        """The number of values."""
        return int(np.prod(self.shape, dtype=object)) if self.shape else 1

    @property
    def nbytes(self) -> int:
        """The number of bytes of all values."""
        return self.size * self.dtype.itemsize


def as_path(path: Any) -> Path:
    """Return a path that the system can look up.

    Parameters
    ----------
    path
        A string or a `Path`.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    ValueError
        If it is of another type, or holds a character that no path can hold.
    """
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise ValueError(f"path: expected a string or a Path, got {type(path).__name__}")
    if "\0" in text:
        raise ValueError(f"path: expected no NUL character, got {text!r}")
    return Path(text)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Write a file that takes the place of another, whole, when the block ends without an error; else nothing changes.

    The new file has a random name in the target's folder until then, so that any number of threads and processes can write to one
    target, and a reader sees one whole file or another. Its permissions are those that the umask leaves.

    Parameters
    ----------
    target
        The file.

    Yields
    ------
    file
        Open for writing and reading, in binary.

    Raises
    ------
    OSError
        If the folder cannot be written to, the disk is full, or a folder stands in the target's place.
    """
    partial = target.with_name(f".{secrets.token_hex(12)}.partial")
    moved = False
    try:
        # "x": a file that is not there yet, and no link. Not mkstemp: its files can be read by their owner only
        with partial.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        moved = True
    finally:
        if not moved:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


class Archive:
    """An .npz archive of which only the directory has been read.

    Parameters
    ----------
    file
        The archive, opened for reading.

    Attributes
    ----------
    names
        Of its arrays.

    Raises
    ------
    ValueError
        If it is no archive of arrays, or its directory is longer than that of one.
    """

    def __init__(self, file: BinaryIO) -> None:
        _check_end(file)
        self._zip = zipfile.ZipFile(file)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename or name in self._members:
                raise ValueError(f"expected each name once, ending in .npy, got {info.filename!r}")
            self._members[name] = info
        self.names = tuple(self._members)

    def header(self, name: str) -> Header:
        """Read what an array is said to be.

        Parameters
        ----------
        name
            One of `names`.

        Returns
        -------
        Header
            Its shape, dtype and place.

        Raises
        ------
        ValueError
            If it is no array, holds Python objects, or has not the size that the archive's directory names.
        """
        info = self._members[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may take gigabytes to expand a kilobyte
            raise ValueError(f"expected {info.filename} stored or deflated, got method {info.compress_type}")
        with self._zip.open(info) as member:
            version = np.lib.format.read_magic(member)
            if version not in _READERS:
                raise ValueError(f"expected {info.filename} in version 1.0 or 2.0 of the format, got {version}")
            shape, fortran_order, dtype = _READERS[version](member)
            start = member.tell()
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
        header = Header(shape, dtype, fortran_order, start)
        if any(length < 0 for length in shape) or start + header.nbytes != info.file_size:
            raise ValueError(f"expected {info.filename} to have {info.file_size:,} bytes, got {dtype} {shape} in its header")
        if info.compress_size > 2 * info.file_size + 1024:
            raise ValueError(
                f"expected {info.filename} no longer than its content, got {info.compress_size:,} bytes in the archive"
            )
        return header

    def read(self, name: str, header: Header) -> NDArray[Any]:
        """Read an array whose header has been found to be as expected.

        Parameters
        ----------
        name
            One of `names`.
        header
            What `header` returned for it.

        Returns
        -------
        ndarray
            The array.

        Raises
        ------
        ValueError
            If there is less of it than its header says.
        """
        flat = np.empty(header.size, header.dtype)
        room, done = flat.view(np.uint8).data, 0
        with self._zip.open(self._members[name]) as member:
            member.read(header.start)
            while chunk := member.read(_CHUNK):  # to the end, where its checksum is compared
                room[done : done + len(chunk)] = chunk
                done += len(chunk)
        if done != header.nbytes:
            raise ValueError(f"expected {header.nbytes:,} bytes of {name}, got {done:,}")
        return flat.reshape(header.shape, order="F" if header.fortran_order else "C")


def is_file(path: Path) -> bool:
    """Tell whether there is an ordinary file.

    Parameters
    ----------
    path
        Where.

    Returns
    -------
    bool
        False as well for folders and devices.

    Raises
    ------
    OSError
        If the system does not tell, for instance because a folder may not be searched or the path is too long.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _check_end(file: BinaryIO) -> None:
    """Look at the record at the end of a zip file: `ZipFile` would read a directory of any length, and keep all of it."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _END.size - _LONGEST_COMMENT - 20))
    tail = file.read()
    start = tail.rfind(b"PK\x05\x06")
    if start < 0 or start + _END.size > len(tail):
        raise ValueError("File is not a zip file")
    directory_bytes = _END.unpack_from(tail, start)[5]
    if tail[max(0, start - 20) : start].startswith(b"PK\x06\x07"):
        raise ValueError("expected an archive of less than 4 GB, got one in the format for larger ones")
    if directory_bytes > MOST_DIRECTORY_BYTES:
        raise ValueError(f"expected a directory of at most {MOST_DIRECTORY_BYTES:,} bytes, got {directory_bytes:,}")
    file.seek(0)
