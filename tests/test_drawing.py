"""From a pen's strokes to an image as MNIST was prepared: MNIST's own statistics, and digits redrawn as strokes."""

import base64

import numpy as np
import pytest
from in_node import in_node
from scipy import ndimage
from sklearn.neighbors import KNeighborsClassifier

import vae_lib
from vae_lib.widgets.pack import pack_encoder

DIGITS = 200
FINE = 4  # strokes are found in images enlarged by this

SCRIPT = """
import { digitOfStrokes, normaliseDigit } from "./drawing_maths.js";
answer({
  strokes: given.strokes.map((strokes) => digitOfStrokes(strokes)).map((image) => image && [...image]),
  pictures: given.pictures.map((p) => normaliseDigit(p.pixels, p.width, p.height)).map((image) => image && [...image]),
});
"""


def prepare(strokes=(), pictures=()):
    """What the page's JavaScript makes of strokes and of pictures (height, width)."""
    given = {
        "strokes": list(strokes),
        "pictures": [{"pixels": np.round(p, 4).ravel().tolist(), "width": p.shape[1], "height": p.shape[0]} for p in pictures],
    }
    return in_node(SCRIPT, given)


ENCODE = """
import { digitOfStrokes } from "./drawing_maths.js";
import { encode, unpackEncoder } from "./network.js";
const { layers, weights, strokes } = given;
const network = unpackEncoder(layers, new DataView(new Uint8Array(Buffer.from(weights, "base64")).buffer));
answer(strokes.map((drawing) => [...encode(network, digitOfStrokes(drawing)).mu]));
"""


def encoded(strokes, vae, images):
    """Codes of drawings, (drawings, 2), as the page computes them."""
    layers, weights = pack_encoder(vae, images)
    given = {"layers": layers, "weights": base64.b64encode(weights).decode(), "strokes": strokes}
    return np.array(in_node(ENCODE, given))


def centres(images):
    """Centre of mass of each image, (images, 2), in pixels from the first pixel's middle: (row, column)."""
    images = np.asarray(images, dtype=float).reshape(-1, 28, 28)
    mass = images.sum(axis=(1, 2))
    return np.stack([(images.sum(axis=2) @ np.arange(28)) / mass, (images.sum(axis=1) @ np.arange(28)) / mass], axis=1)


def boxes(images):
    """Height and width of the box around what is not black, (images, 2)."""
    lit = np.asarray(images).reshape(-1, 28, 28) > 0
    return np.stack([[np.ptp(np.flatnonzero(one.any(axis=axis))) + 1 for axis in (1, 0)] for one in lit])


def thinned(images):
    """Skeletons one pixel wide, (images, height, width): Zhang and Suen 1984, "A fast parallel algorithm for thinning"."""
    shape = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    while True:
        before = shape
        for first in (True, False):
            # p2 … p9, clockwise from above
            p = [
                np.roll(shape, move, axis=(1, 2))
                for move in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
            ]
            neighbours = sum(part.astype(int) for part in p)
            turns = sum((~p[k] & p[(k + 1) % 8]).astype(int) for k in range(8))
            up, right, down, left = p[0], p[2], p[4], p[6]
            sides = ~(up & right & down) & ~(right & down & left) if first else ~(up & right & left) & ~(up & down & left)
            shape = shape & ~((neighbours >= 2) & (neighbours <= 6) & (turns == 1) & sides)
        if (shape == before).all():
            return shape[:, 1:-1, 1:-1]


def traced(skeleton):
    """Follow a skeleton from pixel to pixel as a pen would: strokes as the page has them, 0 to 1, y downwards."""
    pixels = {tuple(map(int, place)) for place in np.argwhere(skeleton)}
    moves = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    near = {(r, c): [(r + a, c + b) for a, b in moves if (r + a, c + b) in pixels] for r, c in pixels}
    left = {frozenset((here, there)) for here in pixels for there in near[here]}
    strokes = []
    for start in sorted(pixels, key=lambda place: len(near[place])):  # ends first
        here, stroke = start, [start]
        while follows := [there for there in near[here] if frozenset((here, there)) in left]:
            left.remove(frozenset((here, follows[0])))
            here = follows[0]
            stroke.append(here)
        if len(stroke) > 1 or not near[start]:
            strokes.append([[(c + 0.5) / skeleton.shape[1], (r + 0.5) / skeleton.shape[0]] for r, c in stroke])
    return strokes


@pytest.fixture(scope="module")
def drawn(mnist_or_digits):
    """Test images, and the same digits redrawn as strokes."""
    originals = mnist_or_digits.x_test[:DIGITS].reshape(-1, 28, 28)
    large = np.stack([ndimage.zoom(image, FINE, order=1, grid_mode=True, mode="grid-constant") for image in originals])
    strokes = [traced(skeleton) for skeleton in thinned(large > 0.5)]
    return originals, strokes, np.array(prepare(strokes)["strokes"], dtype=np.float32)


def test_drawings_have_mnists_own_centre_and_box(drawn, mnist_or_digits):
    """Both sides of each promise: MNIST is so, and so is what is drawn."""
    for images in (drawn[2], *([mnist_or_digits.x_test[:2000]] if mnist_or_digits.is_mnist else [])):
        assert (boxes(images).max(axis=1) == 20).all()
        assert np.abs(centres(images) - 14).max() <= 0.51  # whole pixels are moved
        assert np.abs(centres(images).mean(axis=0) - 14).max() < 0.05
    if mnist_or_digits.is_mnist:
        assert drawn[2].mean() == pytest.approx(drawn[0].mean(), rel=0.1)  # the pen is as thick as MNIST's


def test_redrawn_digits_are_recognised_from_their_codes_as_the_originals_are(drawn, mnist_or_digits):
    """The whole way in JavaScript: strokes, image, code; then the nearest of the training codes vote."""
    if not mnist_or_digits.is_mnist:
        pytest.fail("needs MNIST, for digits enlarged from 8 × 8 pixels are too blurred to be redrawn: connect to the network")
    vae, data = vae_lib.pretrained("mnist-2d"), mnist_or_digits
    originals, strokes, _ = drawn
    codes, _ = vae.encoder(data.x_train[:20_000])
    neighbours = KNeighborsClassifier(15).fit(np.asarray(codes), data.y_train[:20_000])
    own, _ = vae.encoder(originals.reshape(-1, 784))
    right = np.mean(neighbours.predict(np.asarray(own)) == data.y_test[:DIGITS])
    redrawn = np.mean(neighbours.predict(encoded(strokes, vae, data.x_test[-2000:])) == data.y_test[:DIGITS])
    print(f"right by their code: {right:.1%} of the originals, {redrawn:.1%} of the redrawn")
    assert abs(redrawn - right) <= 0.05
    assert right > 0.6  # not by both being lost


def test_where_and_how_large_it_is_drawn_does_not_matter():
    seven = np.array([[0.2, 0.2], [0.7, 0.2], [0.4, 0.8]])
    images = np.array(
        prepare([[(scale * seven + shift).tolist()] for scale, shift in ((1, 0), (0.3, 0), (0.3, 0.6), (1, 0.15))])["strokes"]
    )
    np.testing.assert_allclose(images[1:], np.broadcast_to(images[0], (3, 784)), atol=0.02)


def test_an_mnist_image_that_is_enlarged_and_moved_comes_back(mnist_or_digits):
    originals = mnist_or_digits.x_test[:20].reshape(-1, 28, 28)
    pictures = [np.pad(np.kron(image, np.ones((6, 6))), ((40, 3), (5, 90))) for image in originals]
    back = np.array(prepare(pictures=pictures)["pictures"]).reshape(-1, 28, 28)
    if mnist_or_digits.is_mnist:
        # MNIST's faintest border pixels do not count as ink, so that a digit may be enlarged by a pixel in twenty
        assert np.corrcoef(back.ravel(), originals.ravel())[0, 1] > 0.95
    assert np.abs(centres(back) - 14).max() <= 0.51


def test_a_box_is_scaled_to_20_pixels_with_its_proportions_and_partly_covered_pixels_are_grey():
    picture = np.zeros((90, 130))
    picture[10:73, 20:41] = 1  # 63 × 21 pixels → 20 × 7 (6.67 rounded)
    image = np.array(prepare(pictures=[picture])["pictures"][0]).reshape(28, 28)
    assert boxes(image).tolist() == [[20, 7]]
    np.testing.assert_allclose(image[image > 0], 1)
    picture[10:42, 20:41] = 0.5
    grey = np.array(prepare(pictures=[picture])["pictures"][0]).reshape(28, 28)
    assert 0.5 < grey[grey > 0].mean() < 1
    assert len(np.unique(grey.round(3))) > 2  # a row that is partly dark


def test_a_dot_is_a_digit_and_nothing_is_nothing():
    answers = prepare([[], [[]], [[[0.5, 0.5]]], [[[0.1, 0.9], [0.1, 0.9]]]], [np.zeros((30, 30)), np.full((20, 20), 0.1)])
    assert answers["strokes"][:2] == [None, None]
    assert answers["pictures"] == [None, None]
    for dot in answers["strokes"][2:]:
        assert boxes(np.array(dot)).tolist() == [[20, 20]]
