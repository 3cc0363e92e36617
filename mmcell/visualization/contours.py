"""Contours of label maps, drawn without a loop over objects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Okabe and Ito's colours without black, lightened: told apart with colour-blind eyes, on dark
# fluorescence as on pink histology.
PALETTE = np.array(
    [
        (0, 190, 140),
        (255, 120, 30),
        (80, 190, 255),
        (255, 230, 60),
        (225, 120, 190),
        (40, 110, 230),
        (230, 60, 60),
        (150, 230, 90),
    ],
    dtype=np.uint8,
)


def contour_mask(label_map: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Object pixels beside a pixel of another value (of the four nearest).

    The line runs on the object's own outermost pixels, so touching objects keep a line each.
    Objects cut by the image border stay open there.

    Args:
        label_map: (H, W), 0 is background.
    """
    edge = np.zeros(label_map.shape, dtype=bool)
    vertical = label_map[1:] != label_map[:-1]
    horizontal = label_map[:, 1:] != label_map[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge & (label_map > 0)


def draw_contours(
    image_rgb: npt.NDArray[np.uint8],
    label_map: npt.NDArray[np.integer],
    colors: npt.ArrayLike | None = None,
) -> npt.NDArray[np.uint8]:
    """Draw the outline of every object, one pixel wide.

    Args:
        image_rgb: (H, W, 3). Not modified.
        label_map: (H, W), 0 is background; ids may have gaps.
        colors: one RGB colour for all, or a table (largest id + 1, 3) with a colour per id; by
            default neighbours get colours that differ.

    Returns:
        (H, W, 3), a new image.

    Raises:
        ValueError: If image and label map differ in size, or the table lacks ids.
    """
    if image_rgb.shape[:2] != label_map.shape:
        raise ValueError(
            f'image and label map must have one size, got {image_rgb.shape[:2]} and '
            f'{label_map.shape}'
        )
    edge = contour_mask(label_map)
    table = neighbour_colors(label_map) if colors is None else np.asarray(colors, dtype=np.uint8)
    drawn = image_rgb.copy()
    if table.ndim == 1:
        drawn[edge] = table
        return drawn
    if len(table) <= label_map.max(initial=0):
        raise ValueError(f'{len(table)} colours do not reach to id {label_map.max()}')
    drawn[edge] = table[label_map[edge]]
    return drawn


def neighbour_colors(label_map: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Colours under which objects that touch, corners included, can be told apart.

    Two neighbours share a colour only where an object has neighbours of all eight colours.

    Args:
        label_map: (H, W), 0 is background; ids may have gaps.

    Returns:
        (largest id + 1, 3) RGB, the same for the same map.
    """
    num_ids = int(label_map.max(initial=0)) + 1
    first, second = _touching_pairs(label_map)
    return PALETTE[_color_graph(num_ids, first, second, len(PALETTE))]


def _touching_pairs(label_map: npt.NDArray[np.integer]) -> tuple[np.ndarray, np.ndarray]:
    """Ids of objects in contact, each pair in both orders."""
    labels = label_map.astype(np.int64)
    num_ids = int(labels.max(initial=0)) + 1
    codes = []
    for one, other in (
        (labels[1:], labels[:-1]),
        (labels[:, 1:], labels[:, :-1]),
        (labels[1:, 1:], labels[:-1, :-1]),
        (labels[1:, :-1], labels[:-1, 1:]),
    ):
        touch = (one != other) & (one > 0) & (other > 0)
        codes += [one[touch] * num_ids + other[touch], other[touch] * num_ids + one[touch]]
    return np.divmod(np.unique(np.concatenate(codes)), num_ids)


def _color_graph(
    num_nodes: int, first: np.ndarray, second: np.ndarray, num_colors: int
) -> np.ndarray:
    """Color a graph in a few rounds over all nodes at once.

    In each round the nodes that rank above all their uncoloured neighbours take a colour that none
    of their neighbours has.

    Source: Jones and Plassmann, A parallel graph coloring heuristic, SIAM J. Sci. Comput. 14
    (1993) 654-669.

    Args:
        num_nodes: nodes are numbered from 0.
        first: (E,) one end of each edge; every edge appears in both directions.
        second: (E,) the other end.
        num_colors: size of the palette.

    Returns:
        (num_nodes,) colour index, -1 for none.
    """
    rank = np.random.default_rng(0).permutation(num_nodes)
    preferred = np.arange(num_nodes) % num_colors  # spreads the colours over objects far apart
    color = np.full(num_nodes, -1)
    taken = np.zeros((num_nodes, num_colors), dtype=bool)
    while (color < 0).any():
        open_edges = (color[first] < 0) & (color[second] < 0)
        highest_neighbour = np.full(num_nodes, -1)
        np.maximum.at(highest_neighbour, first[open_edges], rank[second[open_edges]])
        ready = np.flatnonzero((color < 0) & (rank > highest_neighbour))
        wishes = (preferred[ready, None] + np.arange(num_colors)) % num_colors
        first_free = np.argmin(np.take_along_axis(taken[ready], wishes, axis=1), axis=1)
        color[ready] = wishes[np.arange(len(ready)), first_free]
        settled = np.zeros(num_nodes, dtype=bool)
        settled[ready] = True
        news = settled[second]
        taken[first[news], color[second[news]]] = True
    return color
