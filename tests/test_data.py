"""MNIST: found in order, verified by content, downloaded whole or not at all. The digits that stand in. Binarisation.

Everything but one test runs on a small archive whose digests take the place of MNIST's, so no network is needed.
"""

import gc
import hashlib
import http.server
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits as sklearn_digits

from vae_lib import DataError, Dataset, binarize, data, load_digits, load_mnist


def _stand_in() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    pixels = {name: rng.integers(0, 256, (count, 28, 28), dtype=np.uint8) for name, count in (("x_train", 60), ("x_test", 10))}
    labels = {name: rng.integers(0, 10, count, dtype=np.uint8) for name, count in (("y_train", 60), ("y_test", 10))}
    return pixels | labels


ARRAYS = _stand_in()
EXPECTED = {name: (array.shape, hashlib.sha256(array.tobytes()).hexdigest()) for name, array in ARRAYS.items()}


def npz(arrays=ARRAYS, *, save=np.savez) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


@pytest.fixture
def home(monkeypatch, tmp_path):
    """Expect the stand-in, find nothing anywhere, reach no network; gives the folder of Keras's cache."""
    monkeypatch.setattr(data, "_MNIST_ARRAYS", EXPECTED)
    monkeypatch.delenv("VAE_LIB_MNIST", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(data, "MNIST_URL", "http://127.0.0.1:9/mnist.npz")  # the discard port: refused
    return tmp_path / "keras home" / "datasets"


@pytest.fixture
def put(tmp_path):
    """Write bytes to a file and return its path."""

    def write(content: bytes, path=tmp_path / "given.npz"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def assert_is_stand_in(dataset):
    for part in ("train", "test"):
        x, y = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
        assert x.dtype == np.float32
        np.testing.assert_array_equal(np.round(x * 255), ARRAYS[f"x_{part}"].reshape(-1, 784))
        np.testing.assert_array_equal(y, ARRAYS[f"y_{part}"])
        assert x.min() >= 0
        assert x.max() <= 1


# ---- where from -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("home")
def test_sources_in_their_order(put, monkeypatch, tmp_path, serve):
    monkeypatch.setattr(data, "MNIST_URL", serve(npz()))
    assert load_mnist().source == "MNIST (downloaded)"
    assert load_mnist().source == "MNIST (from Keras's cache)"
    monkeypatch.setenv("VAE_LIB_MNIST", str(put(npz(), tmp_path / "named.npz")))
    assert load_mnist().source == "MNIST (from VAE_LIB_MNIST)"
    assert load_mnist(put(npz())).source == "MNIST (from the given path)"


def test_an_earlier_source_that_fails_is_not_passed_over(home, put, monkeypatch):
    put(npz(), home / "mnist.npz")
    monkeypatch.setenv("VAE_LIB_MNIST", "nowhere.npz")
    with pytest.raises(DataError, match=r"expected MNIST as an \.npz file at nowhere\.npz, found none; check the path"):
        load_mnist()
    with pytest.raises(DataError, match=r"expected MNIST as an \.npz file at nor_here\.npz, found none"):
        load_mnist("nor_here.npz")


def test_an_empty_variable_is_no_variable(home, put, monkeypatch):
    put(npz(), home / "mnist.npz")
    monkeypatch.setenv("VAE_LIB_MNIST", "")
    assert load_mnist().source == "MNIST (from Keras's cache)"


def test_keras_home_is_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data._keras_home() == tmp_path / ".keras"


# ---- verified by content --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        npz(),
        npz(save=np.savez_compressed),
        npz(dict(reversed(ARRAYS.items()))),
        npz({name: np.asfortranarray(array) for name, array in ARRAYS.items()}),
        npz(ARRAYS | {"extra": np.zeros(3)}),
    ],
    ids=["plain", "compressed", "other order of keys", "Fortran order", "another array beside"],
)
@pytest.mark.usefixtures("home")
def test_the_container_does_not_matter(put, content):
    assert_is_stand_in(load_mnist(put(content)))


@pytest.mark.usefixtures("home")
def test_arrays_are_read_only(put):
    dataset = load_mnist(put(npz()))
    for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def _one_pixel_changed() -> bytes:
    x_test = ARRAYS["x_test"].copy()
    x_test[3, 14, 14] ^= 1
    return npz(ARRAYS | {"x_test": x_test})


def _without(name: str) -> bytes:
    return npz({key: array for key, array in ARRAYS.items() if key != name})


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, ARRAYS["x_train"])
    return buffer.getvalue()


def _claims_a_petabyte() -> bytes:
    """An archive whose first array says in its header that it holds 10¹⁵ bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in ARRAYS.items():
            member = io.BytesIO()
            shape = (10**15,) if name == "x_train" else array.shape
            np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", member.getvalue() + array.tobytes())
    return buffer.getvalue()


OBJECTS = np.array([{"a": 1}] * 60, dtype=object)
DAMAGED = {
    "empty": (b"", "expected MNIST as an .npz archive"),
    "truncated": (npz()[:20_000], "expected MNIST as an .npz archive"),
    "cut by one byte": (npz()[:-1], "expected MNIST as an .npz archive"),
    "HTML": (b"<!DOCTYPE html><html><body>Please log in</body></html>", "expected MNIST as an .npz archive"),
    "npy": (_npy(), "expected an .npz archive, got a single array"),
    "a pickle": (b"\x80\x04K\x01.", "expected MNIST as an .npz archive"),
    "pickled objects": (npz(ARRAYS | {"y_train": OBJECTS}), "without pickled objects, got: Object arrays"),
    "a header that lies": (_claims_a_petabyte(), "expected MNIST as an .npz archive"),
    "one pixel changed": (_one_pixel_changed(), "expected x_test with SHA-256"),
    "labels swapped": (npz(ARRAYS | {"y_train": ARRAYS["y_train"][::-1]}), "expected y_train with SHA-256"),
    "missing": (_without("y_test"), "got x_train, x_test, y_train (y_test missing)"),
    "no array at all": (npz({}), "got none (x_train, x_test, y_train, y_test missing)"),
    "too few": (npz(ARRAYS | {"x_test": ARRAYS["x_test"][:9]}), "expected x_test as uint8 (10, 28, 28), got uint8 (9, 28, 28)"),
    "flat": (npz(ARRAYS | {"x_test": ARRAYS["x_test"].reshape(10, -1)}), "got uint8 (10, 784)"),
    "float": (npz(ARRAYS | {"x_train": ARRAYS["x_train"] / 255.0}), "expected x_train as uint8 (60, 28, 28), got float64"),
    "signed": (npz(ARRAYS | {"y_test": ARRAYS["y_test"].astype(np.int8)}), "expected y_test as uint8 (10,), got int8"),
}


@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named_and_never_passed_over(home, put, content, message, fallback):
    path = put(content, home / "mnist.npz")
    with pytest.raises(DataError) as caught:
        load_mnist(fallback=fallback)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "delete the file to have it downloaded again" in str(caught.value)


LOAD = """
import resource, sys
import vae_lib
vae_lib.DataError, vae_lib.load_mnist  # loaded before anything is measured
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        vae_lib.load_mnist(path)
    except vae_lib.DataError as error:
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, error)
"""


def test_bombs_are_refused_before_anything_is_read(tmp_path):
    """The archives say that an array has 134 MB, or hold as much beside those that are asked for."""
    large, shapes = np.zeros(1 << 27, np.uint8), {name: shape for name, (shape, _) in data._MNIST_ARRAYS.items()}
    lies = {
        "large.npz": {"x_train": large, **{name: np.zeros(4, np.uint8) for name in ("y_train", "x_test", "y_test")}},
        "wide.npz": {
            "x_test": large.view(np.uint64),
            **{name: np.zeros(4, np.uint8) for name in ("x_train", "y_train", "y_test")},
        },
        "beside.npz": {"more": large, **{name: np.zeros(4, np.uint8) for name in shapes}},
    }
    for name, arrays in lies.items():
        np.savez_compressed(tmp_path / name, **arrays)
        assert (tmp_path / name).stat().st_size < 300_000
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for number in range(40_000):
            archive.writestr(f"{number}.npy", b"")
    paths = [tmp_path / name for name in (*lies, "many.npz")]
    done = subprocess.run([sys.executable, "-c", LOAD, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    assert all(int(line.split()[0]) <= 50 for line in lines), lines  # MB


@pytest.mark.usefixtures("home")
def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(DataError, match="found none; check the path"):
        load_mnist(tmp_path)


@settings(max_examples=150)
@given(flips=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=4), keep=st.one_of(st.none(), st.integers(0)))
def test_whatever_happens_to_the_bytes_gives_the_right_data_or_a_data_error(tmp_path_factory, flips, keep):
    content = bytearray(npz(save=np.savez_compressed))
    for position, mask in flips:
        # most of what can go wrong lies in the zip directory at the end and in the headers at the start
        where = position % len(content) if position % 2 else (-position % 600) - 300
        content[where] ^= mask
    path = tmp_path_factory.mktemp("fuzz") / "mnist.npz"
    path.write_bytes(content if keep is None else content[: keep % len(content)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_MNIST_ARRAYS", EXPECTED)
        try:
            dataset = load_mnist(path)
        except DataError as error:
            assert "delete the file" in str(error)  # noqa: PT017 -- both outcomes are right
        else:
            assert_is_stand_in(dataset)


# ---- the download ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve():
    """Answer on 127.0.0.1 with what a test says; gives the address."""
    servers = []

    def start(body: bytes, *, status: int = 200, length: int | None = None, midway=lambda: None) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()
                midway()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/mnist.npz"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_download_is_verified_and_kept(home, monkeypatch, serve, capsys):
    content = npz()
    monkeypatch.setattr(data, "MNIST_URL", serve(content))
    assert_is_stand_in(load_mnist())
    assert [path.name for path in home.iterdir()] == ["mnist.npz"]
    assert (home / "mnist.npz").read_bytes() == content
    assert capsys.readouterr().out == ""


def test_a_downloaded_file_can_be_read_by_whom_the_umask_lets(home, monkeypatch, serve):
    monkeypatch.setattr(data, "MNIST_URL", serve(npz()))
    before = os.umask(0o022)
    try:
        load_mnist()
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "mnist.npz").stat().st_mode) == 0o644


@pytest.mark.usefixtures("home")
def test_the_download_shows_progress_on_a_terminal(monkeypatch, serve, capsys):
    monkeypatch.setattr(data, "MNIST_URL", serve(npz()))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    load_mnist()
    assert "MNIST: 0.1 of 0.1 MB" in capsys.readouterr().err


BROKEN = {
    "a body cut in the middle": ({"body": npz()[:9000], "length": len(npz())}, "the connection ended after 9,000 of"),
    "cut, and the length unsaid": ({"body": npz()[:9000]}, "brought something other than MNIST"),
    "a page in its place": ({"body": b"<html>Please log in</html>"}, "is a proxy or a log-in page in between? Nothing was kept"),
    "another data set": ({"body": _one_pixel_changed()}, "expected x_test with SHA-256"),
    "not found": ({"body": b"", "status": 404}, "HTTP Error 404"),
    "server error": ({"body": b"", "status": 503}, "HTTP Error 503"),
}


@pytest.mark.parametrize(("answer", "message"), BROKEN.values(), ids=BROKEN)
def test_a_bad_download_leaves_nothing_behind(home, monkeypatch, serve, answer, message):
    monkeypatch.setattr(data, "MNIST_URL", serve(**answer))
    with pytest.raises(DataError) as caught:
        load_mnist()
    assert message in str(caught.value)
    assert data.MNIST_URL in str(caught.value)
    assert list(home.iterdir()) == []


_MOST_SENT = 200_000_000  # bytes, far more than MNIST has


@pytest.fixture
def answer(monkeypatch):
    """Answer each request on 127.0.0.1 with these very bytes, then with more of them for as long as they are taken."""
    over, listeners = threading.Event(), []

    def start(first: bytes, then: bytes = b"", *, pause: float = 0) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(10)
                        connection.recv(4096)
                        connection.sendall(first.replace(b"PORT", str(port).encode()))
                        left = _MOST_SENT  # a fault shows without filling the disk
                        while then and left > 0 and not over.wait(pause):
                            connection.sendall(then)
                            left -= len(then)
                except OSError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        listeners.append((listener, thread))
        monkeypatch.setattr(data, "MNIST_URL", f"http://127.0.0.1:{port}/mnist.npz")

    yield start
    over.set()
    for listener, thread in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


OK = b"HTTP/1.1 200 OK\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
MALFORMED = {
    "no HTTP": b"220 mail server ready\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "a status that is none": b"HTTP/1.1 two hundred\r\n\r\n",
    "a length that is none": OK + b"Content-Length: many\r\n\r\nshort",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nshort",
    "a length of 5,000 digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nshort",
    "a length in other digits": OK + "Content-Length: ٣\r\n\r\nshort".encode(),
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 70\r\n\r\nshort",
    "a length beyond MNIST's": OK + b"Content-Length: 99999999999\r\n\r\nshort",
    "a chunk that is none": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nshort\r\n0\r\n\r\n",
    "a negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nshort\r\n0\r\n\r\n",
    "a chunk cut short": OK + b"Transfer-Encoding: chunked\r\n\r\nffff\r\nshort",
    "a hundred headers more": OK + b"X: y\r\n" * 300 + b"\r\nshort",
    "a header of a megabyte": OK + b"X: " + b"y" * 1_000_000 + b"\r\n\r\nshort",
    "a redirect to itself": MOVED + b"http://127.0.0.1:PORT/again\r\n\r\n",
    "a redirect to a file": MOVED + b"file:///etc/passwd\r\n\r\n",
    "a redirect to half an address": MOVED + b"http://[::1\r\n\r\n",
    "a redirect to no port": MOVED + b"http://127.0.0.1:port/\r\n\r\n",
    "a redirect to a name that is too long": MOVED + b"http://" + b"x" * 300 + b".invalid/\r\n\r\n",
    "a redirect of bytes": MOVED + b"http://\xff\xfe\x80/\r\n\r\n",
    "a redirect to nowhere": MOVED + b"\r\n\r\n",
}


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # urllib leaves them where a redirect leads nowhere
@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_a_server_that_does_not_speak_http_is_a_data_error_or_the_fallback(home, answer, content):
    answer(content)
    with pytest.raises(DataError, match=r"MNIST is not in|something other than MNIST"):
        load_mnist()
    with pytest.warns(UserWarning, match="using scikit-learn's digits, not MNIST"):
        assert not load_mnist(fallback=True).is_mnist
    assert list(home.iterdir()) == []
    gc.collect()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (OK + b"\r\n", bytes(1 << 16)),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
    ],
    ids=["to the end of the connection", "in chunks"],
)
def test_a_body_that_never_ends_is_cut_where_mnist_would_have_ended(home, answer, first, then):
    answer(first, then)
    most = sum(array.size for array in ARRAYS.values()) + data._ARCHIVE_BYTES
    with pytest.raises(DataError, match=r"more came than MNIST has: ([\d,]+) bytes, expected at most ([\d,]+)") as caught:
        load_mnist()
    came = int(str(caught.value).split("more came than MNIST has: ")[1].split(" ")[0].replace(",", ""))
    assert most < came <= most + (1 << 18)
    assert list(home.iterdir()) == []


def test_the_limit_leaves_room_for_mnist_itself_uncompressed():
    stored = io.BytesIO()
    np.savez(stored, **{name: np.zeros(shape, np.uint8) for name, (shape, _) in data._MNIST_ARRAYS.items()})
    assert stored.tell() < sum(np.prod(shape) for shape, _ in data._MNIST_ARRAYS.values()) + data._ARCHIVE_BYTES < 60e6


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (OK + b"Content-Length: 50000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200", b" "),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK, b"X: y"),
    ],
    ids=["a byte now and then", "a chunk now and then", "a status line without end", "to be continued", "a header without end"],
)
def test_a_server_that_takes_its_time_is_given_up(home, answer, monkeypatch, first, then):
    monkeypatch.setattr(data, "_DOWNLOAD_LIMIT_S", 0.5)
    answer(first, then, pause=0.05)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"the download was not finished within 0\.5 s"):
        load_mnist()
    assert time.monotonic() - start < 20  # not the half minute that is allowed for each answer
    assert list(home.iterdir()) == []


def test_each_answer_and_the_whole_download_have_a_time_limit(home, monkeypatch):
    asked = []

    def urlopen(_, timeout):
        asked.append(timeout)
        raise OSError("enough")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(DataError, match="enough"):
        load_mnist()
    assert asked == [data._DOWNLOAD_TIMEOUT_S]
    assert 10 <= data._DOWNLOAD_TIMEOUT_S <= 60
    assert 300 <= data._DOWNLOAD_LIMIT_S <= 3600
    assert list(home.iterdir()) == []


def test_three_threads_that_find_the_cache_empty_all_get_the_data(home, monkeypatch, serve):
    together = threading.Barrier(3)
    monkeypatch.setattr(data, "MNIST_URL", serve(npz(), midway=lambda: together.wait(20)))  # all three download at once
    found, errors = [], []

    def load():
        try:
            found.append(load_mnist())
        except Exception as error:  # no thread's error is lost
            errors.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(found) == 3
    for dataset in found:
        assert_is_stand_in(dataset)
    assert [path.name for path in home.iterdir()] == ["mnist.npz"]


# ---- folders and paths that do not serve ----------------------------------------------------------------------------------


def falls_back(message):
    """Without fallback a DataError that says so, with it the digits and a warning that says the same."""
    with pytest.raises(DataError, match=message):
        load_mnist()
    with pytest.warns(UserWarning, match=f"using scikit-learn's digits, not MNIST: .*{message}"):
        assert not load_mnist(fallback=True).is_mnist


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("path", ["x" * 300, "y/" * 3000, "nu\0l", "\ud800"], ids=["300 characters", "deep", "NUL", "no Unicode"])
def test_a_cache_at_a_path_that_no_folder_has(monkeypatch, tmp_path, path):
    monkeypatch.setattr(data, "_keras_home", lambda: tmp_path / path)
    falls_back("KERAS_HOME|MNIST is not in")


def test_a_user_whom_the_system_does_not_know(monkeypatch, home):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.delenv("HOME", raising=False)

    def unknown(*_):
        raise KeyError("getpwuid(): uid not found: 12345")

    import pwd

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    falls_back("could not be looked for in Keras's cache")
    assert not home.exists()


@pytest.fixture
def nobody():
    """Without the rights of root, which may read and write everything."""
    was_root = os.geteuid() == 0
    load_digits()  # what is imported later may lie where others may not read
    if was_root:
        os.seteuid(65534)
    yield
    if was_root:
        os.seteuid(0)


@pytest.mark.parametrize("where", ["home", "datasets", "file", "read-only"])
def test_a_cache_that_may_not_be_read(home, put, request, where):
    if where != "read-only":
        put(npz(), home / "mnist.npz")
    closed = {"home": home.parent, "datasets": home, "file": home / "mnist.npz", "read-only": home.parent}[where]
    closed.mkdir(parents=True, exist_ok=True) if where != "file" else None
    closed.chmod(0o500 if where == "read-only" else 0o000)
    if where == "read-only" and os.geteuid() == 0:
        closed.chmod(0o555)
    request.getfixturevalue("nobody")
    try:
        falls_back("Permission denied")
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        closed.chmod(0o700)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize(
    "path", [3, b"mnist.npz", ["mnist.npz"], "nu\0l.npz", "x" * 300 + ".npz", "y/" * 3000, "\ud800.npz", "/dev/zero"],
    ids=["number", "bytes", "list", "NUL", "300 characters", "deep", "no Unicode", "device"],
)  # fmt: skip
def test_a_named_file_that_no_file_is_is_a_data_error(monkeypatch, path, fallback):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"MNIST as an \.npz file"):
            load_mnist(path, fallback=fallback)
        if isinstance(path, str) and path.isascii() and "\0" not in path:
            monkeypatch.setenv("VAE_LIB_MNIST", path)
            with pytest.raises(DataError, match=r"MNIST as an \.npz file"):
                load_mnist(fallback=fallback)


def test_a_refused_connection_says_what_to_do(home):
    with pytest.raises(DataError, match=r"connect to the network, or set VAE_LIB_MNIST to a copy of mnist\.npz"):
        load_mnist()
    assert list(home.iterdir()) == []


def test_ctrl_c_in_the_middle_of_a_download_leaves_nothing_behind(home, monkeypatch, serve):
    opened, over = threading.Event(), threading.Event()
    urlopen = urllib.request.urlopen

    def notice(*args, **kwargs):
        response = urlopen(*args, **kwargs)
        opened.set()
        return response

    def interrupt():
        opened.wait(20)
        time.sleep(0.1)  # now the reader waits for the other half
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(20)

    monkeypatch.setattr(urllib.request, "urlopen", notice)

    monkeypatch.setattr(data, "MNIST_URL", serve(npz()[:9000], length=len(npz()), midway=interrupt))
    try:
        with pytest.raises(KeyboardInterrupt):
            load_mnist()
    finally:
        over.set()
    assert list(home.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(home, monkeypatch, serve):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data, "MNIST_URL", serve(npz()))
    monkeypatch.setattr(data.Path, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        load_mnist()
    assert list(home.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_a_data_error(home, put):
    put(b"a file where a folder should be", home)
    with pytest.raises(DataError, match="set VAE_LIB_MNIST to a copy"):
        load_mnist()


@pytest.mark.usefixtures("home")
def test_without_mnist_the_fallback_is_the_digits_and_says_so(digits):
    with pytest.warns(UserWarning, match="using scikit-learn's digits, not MNIST"):
        dataset = load_mnist(fallback=True)
    assert not dataset.is_mnist
    np.testing.assert_array_equal(dataset.x_train, digits.x_train)
    assert "scikit-learn" in dataset.source
    assert "<strong>This is not MNIST.</strong>" in dataset._repr_html_()


def test_with_mnist_the_fallback_is_not_used(home, put):
    put(npz(), home / "mnist.npz")
    dataset = load_mnist(fallback=True)
    assert dataset.is_mnist
    assert "not MNIST" not in dataset._repr_html_()
    assert "60 training and 10 test images of 784 pixels" in dataset._repr_html_()


# ---- the real MNIST, or the banner ----------------------------------------------------------------------------------------


def test_mnist_is_mnist_or_says_that_it_is_not(mnist_or_digits, monkeypatch, serve, tmp_path):
    dataset = mnist_or_digits
    if not dataset.is_mnist:
        assert "This is not MNIST" in dataset._repr_html_()
        return
    # known facts: LeCun's counts of each digit, the mean and deviation that the field normalises with
    assert np.bincount(dataset.y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert dataset.x_train.mean(dtype=float) == pytest.approx(0.1307, abs=5e-5)
    assert dataset.x_train.std(dtype=float) == pytest.approx(0.3081, abs=5e-5)
    assert dataset.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # the same content, packed anew and downloaded, passes MNIST's own digests
    arrays = {
        name: np.round(array * 255).astype(np.uint8).reshape(-1, 28, 28) if name[0] == "x" else array
        for name, array in ((name, getattr(dataset, name)) for name in EXPECTED)
    }
    monkeypatch.delenv("VAE_LIB_MNIST", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(data, "MNIST_URL", serve(npz(arrays)))
    downloaded = load_mnist()
    assert downloaded.source == "MNIST (downloaded)"
    np.testing.assert_array_equal(downloaded.x_test, dataset.x_test)


# ---- the digits -----------------------------------------------------------------------------------------------------------


def test_digits_have_the_form_of_mnist(digits):
    assert digits.x_train.shape == (1500, 784)
    assert digits.x_test.shape == (297, 784)
    for x in (digits.x_train, digits.x_test):
        assert x.dtype == np.float32
        assert x.min() == 0
        assert x.max() == 1
    assert not digits.is_mnist
    assert digits.epochs > 10


def test_digits_lie_in_the_middle_box_of_20_by_20(digits):
    images = digits.x_train.reshape(-1, 28, 28)
    border = np.ones((28, 28), dtype=bool)
    border[4:24, 4:24] = False
    assert not images[:, border].any()
    assert (images[:, ~border].max(axis=1) > 0.5).all()


def test_digits_are_those_of_scikit_learn_each_once(digits):
    # the middles of the original's cells bring the small images back: each is there, with its label
    x, y = np.concatenate([digits.x_train, digits.x_test]), np.concatenate([digits.y_train, digits.y_test])
    box = x.reshape(-1, 28, 28)[:, 4:24, 4:24]
    centres = np.array([1, 3, 6, 8, 11, 13, 16, 18])  # the pixels at the middles of the eight cells
    small = box[:, centres][:, :, centres].reshape(len(x), 64)
    original = sklearn_digits()
    nearest = cdist(small, original.data / 16).argmin(axis=1)
    assert len(set(nearest)) > 0.99 * len(x)
    assert (original.target[nearest] == y).mean() > 0.999
    np.testing.assert_array_equal(np.bincount(y), np.bincount(original.target))


def test_train_and_test_digits_are_disjoint(digits):
    train, test = ({row.tobytes() for row in x} for x in (digits.x_train, digits.x_test))
    assert not train & test


def test_digits_are_the_same_each_time(digits):
    again = load_digits()
    np.testing.assert_array_equal(again.x_train, digits.x_train)
    np.testing.assert_array_equal(again.y_test, digits.y_test)


# ---- Dataset --------------------------------------------------------------------------------------------------------------


def test_the_banner_of_the_digits_is_visible_html(digits):
    banner = digits._repr_html_()
    assert 'class="vae-not-mnist"' in banner
    assert "1,500 training and 297 test images" in banner
    assert repr(digits).startswith("<Dataset Handwritten digits embedded in scikit-learn")


@pytest.mark.parametrize(
    ("x_shape", "y_shape"), [((5, 784), (4,)), ((5, 784), (5, 1)), ((5, 28, 28), (5,)), ((784,), (784,)), ((5, 784), ())]
)
def test_labels_must_match_images(x_shape, y_shape):
    good_x, good_y = np.zeros((2, 784), np.float32), np.zeros(2, np.uint8)
    with pytest.raises(DataError, match="give one label for each image"):
        Dataset(np.zeros(x_shape, np.float32), np.zeros(y_shape, np.uint8), good_x, good_y, "mine", is_mnist=False)
    with pytest.raises(DataError, match="x_test and y_test"):
        Dataset(good_x, good_y, np.zeros(x_shape, np.float32), np.zeros(y_shape, np.uint8), "mine", is_mnist=False)


ROWS, LABELS = np.random.default_rng(0).random((5, 784), dtype=np.float32), np.arange(5, dtype=np.uint8)


def made(x=ROWS, y=LABELS, x_test=ROWS, y_test=LABELS, **rest):
    return Dataset(x, y, x_test, y_test, **{"source": "mine", "is_mnist": False, **rest})


class Frame:
    """As much of a data frame as NumPy asks for."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


@pytest.mark.parametrize(
    "convert", [np.ndarray.tolist, np.float64, np.asfortranarray, Frame, np.ma.array, lambda x: [list(row) for row in x]],
    ids=["list", "float64", "Fortran order", "data frame", "mask that hides nothing", "list of lists of NumPy numbers"],
)  # fmt: skip
def test_whatever_holds_the_numbers_a_dataset_holds_arrays(convert):
    dataset = made(
        x=convert(ROWS), y=LABELS.astype(np.int64).tolist(), x_test=convert(ROWS), y_test=Frame(LABELS.astype(np.int32))
    )
    for part in ("train", "test"):
        x, y = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
        assert type(x) is type(y) is np.ndarray
        assert (x.dtype, y.dtype) == (np.float32, np.uint8)
        np.testing.assert_array_equal(x, ROWS)
        np.testing.assert_array_equal(y, LABELS)
        assert not x.flags.writeable
        assert not y.flags.writeable


@pytest.mark.backends
def test_a_dataset_takes_tensors():
    import keras

    dataset = made(x=keras.ops.convert_to_tensor(ROWS), x_test=keras.Variable(ROWS))
    np.testing.assert_array_equal(dataset.x_train, ROWS)
    np.testing.assert_array_equal(dataset.x_test, ROWS)


def test_a_dataset_copies_nothing_that_it_need_not_and_leaves_the_callers_arrays_writable():
    x, y = ROWS.copy(), LABELS.copy()
    dataset = made(x, y, x, y)
    assert all(np.shares_memory(getattr(dataset, f"x_{part}"), x) for part in ("train", "test"))
    assert all(np.shares_memory(getattr(dataset, f"y_{part}"), y) for part in ("train", "test"))
    x[0, 0], y[0] = 0.25, 9  # raises where the array has become read-only
    assert x.flags.writeable
    assert y.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        dataset.x_train[0, 0] = 1


WRONG = {
    "bytes": ({"x": np.full((5, 784), 255, np.uint8)}, "x_train: expected values in .*divide bytes by 255"),
    "bytes of the test": ({"x_test": np.full((5, 784), 7, np.uint8)}, "x_test: expected values in .*divide bytes by 255"),
    "NaN": ({"x": np.full((5, 784), np.nan)}, "x_train: expected values in .*drop or fill"),
    "a mask": ({"x": np.ma.masked_greater(ROWS, 0.5)}, "x_train: expected an array without hidden values"),
    "masked labels": ({"y": np.ma.masked_greater(LABELS, 2)}, "y_train: expected an array without hidden values"),
    "words": ({"x": [["black"] * 784] * 5}, "x_train: expected numbers"),
    "another width": ({"x_test": ROWS[:, :100]}, "expected images of the same width, got 784 and 100 pixels"),
    "labels as words": ({"y_test": list("abcde")}, "y_test: expected numbers"),
    "labels of halves": ({"y": LABELS / 2}, "y_train: expected whole numbers from 0 to 255, got float64 from 0.0 to 2.0"),
    "negative labels": ({"y": LABELS.astype(int) - 1}, "y_train: expected whole numbers from 0 to 255, got int64 from -1 to 3"),
    "labels beyond a byte": ({"y_test": LABELS.astype(int) + 252}, "y_test: expected whole numbers .* from 252 to 256"),
    "labels of truth": ({"y": LABELS > 2}, "y_train: expected whole numbers"),
    "one-hot labels": ({"y": np.eye(5, dtype=np.uint8)}, "give one label for each image"),
    "none": ({"x": None}, "x_train: expected numbers"),
    "no epochs": ({"epochs": 0}, "epochs: expected a whole number of at least 1"),
    "half epochs": ({"epochs": 0.5}, "epochs: expected a whole number"),
    "no source": ({"source": None}, "source and is_mnist: expected a text and True or False"),
    "perhaps MNIST": ({"is_mnist": "yes"}, "source and is_mnist: expected a text and True or False"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_what_a_dataset_cannot_hold(changes, message):
    with pytest.raises(DataError, match=message):
        made(**changes)


def test_a_dataset_takes_numpy_integers_and_clips_rounding():
    dataset = made(x=ROWS * 0 + 1.0000000000000002, epochs=np.int64(3))
    assert dataset.epochs == 3
    assert dataset.x_train.max() == 1


def test_a_source_is_never_markup():
    banner = made(source="<script>alert(1)</script>")._repr_html_()
    assert "<script>" not in banner
    assert "&lt;script&gt;" in banner


# ---- binarize -------------------------------------------------------------------------------------------------------------

GREY = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(max_dims=3, max_side=6),
    elements=st.floats(0, 1, width=32),
)


@given(GREY)
def test_none_leaves_grey_values(grey):
    np.testing.assert_array_equal(binarize(grey), grey.astype(np.float32))


@given(GREY)
def test_threshold_splits_at_one_half(grey):
    np.testing.assert_array_equal(binarize(grey, "threshold"), np.where(grey.astype(np.float32) < 0.5, 0, 1))


@given(GREY, st.integers(0, 2**31 - 1))
def test_draws_are_black_or_white_and_certain_at_the_ends(grey, seed):
    for black_white in (binarize(grey, "static", seed=seed), binarize(grey, "dynamic", seed=np.random.default_rng(seed))):
        assert black_white.dtype == np.float32
        assert black_white.shape == grey.shape
        assert np.isin(black_white, [0, 1]).all()
        np.testing.assert_array_equal(black_white[grey == 0], 0)
        np.testing.assert_array_equal(black_white[grey == 1], 1)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("mean", [0.03, 0.5, 0.9])
def test_draws_have_the_grey_value_as_their_mean(mode, mean):
    seed = 1 if mode == "static" else np.random.default_rng(1)
    ones = int(binarize(np.full((100, 1000), mean), mode, seed=seed).sum())
    assert stats.binomtest(ones, 100_000, mean).pvalue > 1e-4


def test_static_is_the_same_draw_and_dynamic_another(images):
    np.testing.assert_array_equal(binarize(images, "static", seed=5), binarize(images, "static", seed=5))
    assert (binarize(images, "static", seed=5) != binarize(images, "static", seed=6)).any()
    generator = np.random.default_rng(5)
    assert (binarize(images, "dynamic", seed=generator) != binarize(images, "dynamic", seed=generator)).any()


def test_an_empty_array_stays_empty():
    assert binarize(np.zeros((0, 784)), "threshold").shape == (0, 784)


@pytest.mark.parametrize("mode", ["none", "threshold", "static", "dynamic"])
@pytest.mark.parametrize(
    ("bad", "remedy"),
    [
        (-0.01, "scale"), (1.01, "scale"), (255, "divide bytes by 255"), (np.nan, "drop or fill"), (np.inf, "drop or replace"),
        (1e300, "scale"),
    ],
)  # fmt: skip
def test_values_that_are_not_grey(mode, bad, remedy):
    with pytest.raises(DataError, match=rf"x: expected values in \[0, 1\], got .*; {remedy}"):
        binarize([0.5, bad], mode, seed=np.random.default_rng(0) if mode == "dynamic" else 0)


def test_rounding_noise_is_clipped_and_more_is_not():
    noisy = np.array([1.0000000000000002, -1e-9, 0.5, 1 + 9e-7, -9e-7])
    np.testing.assert_array_equal(binarize(noisy), np.float32([1, 0, 0.5, 1, 0]))
    for beyond in (1 + 2e-6, -2e-6):
        with pytest.raises(DataError, match="expected values in"):
            binarize([0.5, beyond])


@pytest.mark.parametrize("number", [np.int64(5), np.uint8(5), np.int32(5)])
def test_numpy_integers_are_seeds_as_good_as_pythons(images, number):
    np.testing.assert_array_equal(binarize(images, "static", seed=number), binarize(images, "static", seed=5))


def test_the_callers_array_stays_as_it_is():
    grey = np.array([0.2, 0.8])
    for mode in ("threshold", "static"):
        binarize(grey, mode)[:] = 7
    np.testing.assert_array_equal(grey, [0.2, 0.8])
    assert grey.flags.writeable


def test_hidden_values_are_not_used():
    masked = np.ma.masked_greater(np.array([0.2, 0.9]), 0.5)
    with pytest.raises(DataError, match="without hidden values"):
        binarize(masked)


@pytest.mark.parametrize("x", [["a"], [None], [[0.1], [0.2, 0.3]], [1j]])
def test_what_is_not_a_number(x):
    with pytest.raises(DataError, match=r"x: expected numbers, got .*; give a float32 array"):
        binarize(x)


@pytest.mark.parametrize(
    ("mode", "seed", "message"),
    [
        ("static", np.random.default_rng(0), "whole number"),
        ("static", None, "whole number"),
        ("static", -1, "whole number"),
        ("static", 0.5, "whole number"),
        ("static", "0", "whole number"),
        ("static", True, "whole number"),
        ("static", 2**31, "whole number"),
        ("static", np.int64(-1), "whole number"),
        ("dynamic", 0, "expected a numpy Generator"),
        ("dynamic", None, "expected a numpy Generator"),
        ("sometimes", 0, 'mode: expected "none", "threshold", "static" or "dynamic", got \'sometimes\''),
        (None, 0, "mode: expected"),
        (["none"], 0, "mode: expected"),
        (np.array(["none", "static"]), 0, "mode: expected"),
    ],
)
def test_modes_and_seeds_must_fit(mode, seed, message):
    with pytest.raises(DataError, match=message):
        binarize([0.5], mode, seed=seed)
