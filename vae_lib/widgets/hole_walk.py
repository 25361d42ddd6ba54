"""A walk through a hole: a slider along two ways between two codes, straight through an empty place and around it."""

from __future__ import annotations

from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import as_array, check_finite, check_limit, check_number, check_reals, shown
from vae_lib.plots import NotebookFigure
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.checks import check_plane_vae
from vae_lib.widgets.linked import LinkedWidget, slider, style

_SIDE = 90  # points of the map along an axis, and of the graph in which the way around is sought
_COUNT = 61  # points of each way
_SHYNESS = 0.75  # the cost of a step is its length over the density to this power: the higher, the wider the detour


class WalkCanvas(anywidget.AnyWidget):
    """The picture above the slider: map, both decoded images, densities. Its traits are its contract."""

    _esm = bundle("hole_walk.js")
    _css = style("elbo_balance.css")

    place = traitlets.Float(0.0).tag(sync=True)  # which point of the ways, from 0
    points = traitlets.Int().tag(sync=True)
    paths = traitlets.Bytes().tag(sync=True)  # little-endian float32, (2, points, 4): z₁, z₂, log p(z), log q(z)
    decoded = traitlets.Bytes().tag(sync=True)  # uint8, (2, points, pixels)
    map = traitlets.Bytes().tag(sync=True)  # little-endian float32, log q(z), (side, side)
    side = traitlets.Int(_SIDE).tag(sync=True)
    limit = traitlets.Float().tag(sync=True)
    image_shape = traitlets.List(traitlets.Int()).tag(sync=True)


class HoleWalk(LinkedWidget):
    """Walk from one code to another on two ways at once: straight, and around where codes are rare.

    The way around is the path of least cost over a grid, where a step costs more where codes are rarer. Both ways are decoded
    beforehand, so that no kernel is needed.

    Parameters
    ----------
    vae : VAE
        A trained model with two latent dimensions.
    mu, log_var
        The encoder's answers, (images, 2): their mixture is the aggregate posterior.
    start, end
        Where the ways begin and end, two numbers each.
    limit
        The map reaches from −limit to limit, at most 100.

    Raises
    ------
    ValueError
        If the model does not have two latent dimensions, is conditional or has diverged, images are not square, codes have
        another form, or a place is not on the map.

    Attributes
    ----------
    straight
        Points of the straight way at equal distances, (61, 2).
    around
        Points of the way around at equal distances, (61, 2).
    """

    def __init__(
        self, vae: Any, mu: ArrayLike, log_var: ArrayLike, start: ArrayLike, end: ArrayLike, *, limit: float = 4.5
    ) -> None:
        from vae_lib.evaluation import aggregate_log_prob

        side, limit = check_plane_vae(vae), check_limit(limit)
        ends = [_checked_place(name, place, limit) for name, place in (("start", start), ("end", end))]
        means, log_vars = (check_reals(values, name) for name, values in (("mu", mu), ("log_var", log_var)))
        axis = np.linspace(-limit, limit, _SIDE)
        grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        log_map = aggregate_log_prob(grid, means, log_vars).reshape(_SIDE, _SIDE)
        self.straight = np.linspace(ends[0], ends[1], _COUNT)
        self.around = _way_around(log_map, axis, ends[0], ends[1])
        ways = np.concatenate([self.straight, self.around])  # (2 · points, 2)
        log_prior = -0.5 * (ways**2).sum(axis=1) - np.log(2 * np.pi)
        self._paths = np.column_stack([ways, log_prior, aggregate_log_prob(ways, means, log_vars)]).reshape(2, _COUNT, 4)
        logits = as_array(vae.decoder(ways.astype(np.float32)))
        check_finite("vae: decoded images", logits, "the model has diverged, train again with a lower learning rate")
        canvas = WalkCanvas(
            points=_COUNT, paths=self._paths.astype("<f4").tobytes(), limit=float(limit), image_shape=[side, side],
            decoded=np.round(127.5 * (1 + np.tanh(logits / 2))).astype(np.uint8).tobytes(), map=log_map.astype("<f4").tobytes(),
        )  # fmt: skip
        control = slider("along", 0.0, 0.0, _COUNT - 1.0, step=1.0, name="How far along both ways")
        control.readout = False  # it counts points; the share stands in the read-out above
        super().__init__(canvas, {"place": control})

    @property
    def share(self) -> float:
        """How far both ways have been walked, from 0 to 1; set it to move the slider."""
        return float(self._sliders["place"].value) / (_COUNT - 1)

    @share.setter
    def share(self, share: float) -> None:
        share = check_number("share", share, least=0, most=1)
        self._move(place=float(round(share * (_COUNT - 1))))

    def _still(self) -> NotebookFigure:
        canvas = self._canvas
        figure = NotebookFigure(figsize=(6.4, 5.4), layout="constrained")
        plane, pictures = figure.subplots(2, 1, height_ratios=(3, 1))
        log_map = np.frombuffer(canvas.map, "<f4").reshape(_SIDE, _SIDE)
        half = canvas.limit
        plane.imshow(np.clip(log_map, -9, -1).T, origin="lower", extent=(-half, half, -half, half), cmap="Blues")
        looks = (("straight", "-", "#e76300"), ("around", "--", "black"))
        for way, (name, line, color) in zip((self.straight, self.around), looks, strict=True):
            plane.plot(*way.T, ls=line, color=color, lw=2.5, label=name)
            plane.plot(*way[round(self._sliders["place"].value)], "o", color=color, ms=8)
        plane.legend(loc="upper left", fontsize=8)
        plane.set(xlabel="$z_1$", ylabel="$z_2$", title="aggregate posterior (log-density), and two ways")
        images = np.frombuffer(canvas.decoded, np.uint8).reshape(2, _COUNT, *canvas.image_shape)[:, :: _COUNT // 10]
        pictures.imshow(np.concatenate([np.concatenate(list(row), axis=1) for row in images]), cmap="gray", vmin=0, vmax=255)
        pictures.set(xticks=[], yticks=[], title="decoded: straight (above), around (below)")
        return figure


def _way_around(log_map: NDArray[Any], axis: NDArray[Any], start: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float64]:
    """Find the way of least cost over the grid by Dijkstra's algorithm, and smooth it: (points, 2)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra

    count, step = len(axis), axis[1] - axis[0]
    weight = np.exp(-_SHYNESS * np.maximum(log_map, log_map.max() - 20.0))
    number = np.arange(count * count).reshape(count, count)
    edges = []
    for right, up in ((1, 0), (0, 1), (1, 1), (1, -1)):
        here = (slice(None, count - right), slice(max(0, -up), count - max(0, up)))
        there = (slice(right, None), slice(max(0, up), count - max(0, -up)))
        cost = 0.5 * (weight[here] + weight[there]) * step * np.hypot(right, up)
        edges.append((number[here].ravel(), number[there].ravel(), cost.ravel()))
    rows, columns, costs = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = csr_matrix((costs, (rows, columns)), shape=(count * count, count * count))
    first, last = (
        int(np.ravel_multi_index(tuple(np.rint((p - axis[0]) / step).astype(int)), (count, count))) for p in (start, end)
    )
    _, before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    nodes = [last]
    while nodes[-1] != first:
        nodes.append(int(before[nodes[-1]]))
    way = axis[np.stack(np.unravel_index(nodes[::-1], (count, count)), axis=1)]
    way[0], way[-1] = start, end
    for _ in range(20):  # steps of a grid have corners; the ends stay
        way[1:-1] = 0.25 * way[:-2] + 0.5 * way[1:-1] + 0.25 * way[2:]
    return _at_equal_distances(way)


def _at_equal_distances(way: NDArray[np.float64]) -> NDArray[np.float64]:
    gone = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    even = np.linspace(0, gone[-1], _COUNT)
    return np.stack([np.interp(even, gone, way[:, j]) for j in range(2)], axis=1)


def _checked_place(name: str, place: ArrayLike, limit: float) -> NDArray[np.float64]:
    try:
        point = check_reals(place, name)
    except ValueError:
        point = np.empty(0)
    if point.shape != (2,) or not (np.abs(point) <= limit).all():
        raise ValueError(f"{name}: expected two numbers from {-limit} to {limit}, got {shown(place)}; choose a place on the map")
    return point
