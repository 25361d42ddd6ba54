"""Files are written whole or not at all, whoever writes beside; archives are checked from their directory and headers alone."""

import io
import os
import re
import stat
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vae_lib import files
from vae_lib.files import Archive, as_path, is_file, replacing

# ---- whole or not at all --------------------------------------------------------------------------------------------------


def test_the_new_content_comes_at_the_end_of_the_block_alone(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with replacing(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
        assert len(list(tmp_path.iterdir())) == 2
        file.seek(0)
        assert file.read() == b"new"
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ValueError])
def test_an_error_in_the_block_changes_nothing(tmp_path, error):
    target = tmp_path / "target"
    target.write_bytes(b"old")

    def write_and_fail():
        with replacing(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_is_written_is_on_the_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, files.Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append(os.fstat(number).st_size), fsync(number)))
    monkeypatch.setattr(files.Path, "replace", lambda *paths: (order.append("replaced"), replace(*paths)))
    with replacing(tmp_path / "target") as file:
        file.write(b"12345")
    assert order == [5, "replaced"]


def test_two_writers_of_one_process_have_files_of_their_own(tmp_path):
    target = tmp_path / "target"
    with replacing(target) as first, replacing(target) as second:
        first.write(b"first")
        second.write(b"second")
        assert first.name != second.name
    assert target.read_bytes() == b"first"  # the outer block ends last


def test_no_link_is_followed_and_no_file_overwritten(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".guessed.partial").symlink_to(victim)
    with pytest.raises(FileExistsError), replacing(tmp_path / "target"):
        pytest.fail("the link was opened")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_permissions_are_those_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "target"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o666 & ~mask


WRITER = """
import sys
from pathlib import Path
from vae_lib.files import replacing
target, letter = Path(sys.argv[1]), sys.argv[2].encode()
for number in range(60):
    with replacing(target) as file:
        file.write(letter * (100_000 + 1000 * number))
"""


def test_processes_and_threads_write_to_one_file_and_each_reader_sees_a_whole_one(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"0" * 100_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, target, letter]) for letter in "ab"]

    def write(letter):
        for number in range(60):
            with replacing(target) as file:
                file.write(letter * (100_000 + 1000 * number))

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"c", b"d")]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads) or any(writer.poll() is None for writer in writers):
        content = target.read_bytes()
        letters = set(content)
        assert len(letters) == 1
        assert (len(content) - 100_000) % 1000 == 0
        seen |= letters
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(seen) >= 3  # there was something to see
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


# ---- paths ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, 3, b"bytes", ["list"], "nu\0l"])
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match="path: expected"):
        as_path(path)


def test_what_is_a_path():
    assert as_path("a/b") == as_path(Path("a/b")) == Path("a/b")


def test_an_ordinary_file_is_one_and_nothing_else_is(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    assert is_file(tmp_path / "file")
    for other in (tmp_path, tmp_path / "nothing", tmp_path / "file" / "below", tmp_path / "pipe", Path("/dev/zero")):
        assert not is_file(other)
    with pytest.raises(OSError, match="too long"):
        is_file(tmp_path / ("x" * 300))


# ---- archives -------------------------------------------------------------------------------------------------------------

ARRAYS = hnp.arrays(
    st.sampled_from(["<f4", "<f2", "|u1", ">i4", "<U3", "|b1"]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
)


@given(ARRAYS, st.sampled_from([np.savez, np.savez_compressed]), st.booleans())
def test_an_archive_is_read_as_numpy_reads_it(array, save, fortran):
    file = io.BytesIO()
    save(file, **{"one/two": np.asfortranarray(array) if fortran and array.ndim else array, "other": np.zeros(2)})
    archive = Archive(file)
    assert archive.names == ("one/two", "other")
    header = archive.header("one/two")
    assert (header.shape, header.dtype, header.nbytes) == (array.shape, array.dtype, array.nbytes)
    read = archive.read("one/two", header)
    expected = np.load(file)["one/two"]
    assert (read.shape, read.dtype) == (expected.shape, expected.dtype)
    assert read.tobytes() == expected.tobytes()


def npy(array, **changes):
    """The bytes of a .npy file, with changes of its header."""
    buffer = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array) | changes
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer


GOOD = np.arange(6, dtype=np.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(GOOD, shape=(7,)), "to have 152 bytes, got float32 (7,) in its header"),
        (npy(GOOD, shape=(10**15,)), "to have 152 bytes, got float32 (1000000000000000,)"),
        (npy(GOOD, shape=(-1, -6)), "to have 152 bytes"),
        (npy(GOOD, shape=(5,)), "to have 152 bytes"),
        (npy(GOOD) + b"more", "to have 156 bytes"),
        (npy(GOOD)[:-1], "to have 151 bytes"),
        (npy(np.array([None]), descr="|O"), "Object arrays cannot be loaded"),
        (b"no array", "magic string"),
        (b"", "magic string"),
        (b"\x93NUMPY\x09\x00" + npy(GOOD)[8:], "in version 1.0 or 2.0 of the format, got (9, 0)"),
        (b"\x93NUMPY\x01\x00\xff\xff{" + b" " * 200, "EOF"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_before_the_array_is_read(content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Archive(zipped(("x.npy", content))).header("x")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_expand_a_kilobyte_to_gigabytes_are_refused(method):
    with pytest.raises(ValueError, match=r"expected x\.npy stored or deflated"):
        Archive(zipped(("x.npy", npy(GOOD)), method=method)).header("x")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("x", b"")], r"each name once, ending in \.npy, got 'x'"),
        ([("x.npy", npy(GOOD)), ("x.npy", npy(GOOD))], "each name once"),
        ([(f"{number}.npy", b"") for number in range(3000)], "expected a directory of at most 131,072 bytes"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_directory_that_does_not_fit_is_refused(members, message):
    with pytest.raises(ValueError, match=message):
        Archive(zipped(*members))


def test_the_format_for_more_than_4_gb_is_refused():
    """Its directory could be of any length, whatever the ordinary record at the end of the file says."""
    content = zipped(("x.npy", npy(GOOD))).getvalue()
    end = content.rindex(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    with pytest.raises(ValueError, match="expected an archive of less than 4 GB"):
        Archive(io.BytesIO(content[:end] + locator + content[end:]))


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"no zip file" * 100, npy(GOOD)])
def test_what_is_no_archive(content):
    with pytest.raises(ValueError, match="not a zip file"):
        Archive(io.BytesIO(content))


def test_a_comment_at_the_end_does_no_harm():
    file = zipped(("x.npy", npy(GOOD)))
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"a comment" * 100
    whole = Archive(file)
    np.testing.assert_array_equal(whole.read("x", whole.header("x")), GOOD)


def test_less_than_the_directory_names_is_found():
    """The directory and the header say six numbers; the compressed data hold one."""
    content = bytearray(zipped(("x.npy", npy(GOOD[:1], shape=(6,)))).getvalue())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature) + offset
        content[at : at + 4] = struct.pack("<L", 152)
    archive = Archive(io.BytesIO(bytes(content)))
    header = archive.header("x")
    with pytest.raises((ValueError, zipfile.BadZipFile, EOFError)):
        archive.read("x", header)
