"""MNIST: found in order, verified by content, downloaded whole or not at all. The digits that stand in. Binarisation.

Everything but one test runs on a small archive whose digests take the place of MNIST's, so no network is needed.
"""

import hashlib
import http.server
import io
import os
import signal
import stat
import threading
import time
import urllib.request
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


@given(GREY, st.integers(0, 2**31))
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
@pytest.mark.parametrize("bad", [-0.01, 1.01, 255, np.nan, np.inf, 1e300])
def test_values_that_are_not_grey(mode, bad):
    with pytest.raises(DataError, match=r"x: expected values in \[0, 1\], got .*; divide bytes by 255, drop NaNs"):
        binarize([0.5, bad], mode, seed=np.random.default_rng(0) if mode == "dynamic" else 0)


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
        ("dynamic", 0, "expected a numpy Generator"),
        ("dynamic", None, "expected a numpy Generator"),
        ("sometimes", 0, 'mode: expected "none", "threshold", "static" or "dynamic", got \'sometimes\''),
        (None, 0, "mode: expected"),
    ],
)
def test_modes_and_seeds_must_fit(mode, seed, message):
    with pytest.raises(DataError, match=message):
        binarize([0.5], mode, seed=seed)
