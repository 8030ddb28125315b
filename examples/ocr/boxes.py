"""Boxes around lines of text: found in a detector's map, cut out of the page, put into reading order.

The detector marks the core of each line, shrunk by a fixed rule so that neighbouring lines do not touch. A
box is the rectangle around one core, grown back by that rule (Liao et al., Real-Time Scene Text Detection
with Differentiable Binarization, 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Point = tuple[int, int]
Corners = tuple[Point, Point, Point, Point]
"""Top left, top right, bottom right, bottom left."""

IS_TEXT = 0.3  # a pixel of the map above this belongs to a line
LEAST_SCORE = 0.5  # mean of the map inside a core; below it the core is noise
LEAST_SIDE = 3  # of a core, in pixels of the map
ALONG = 3.0
ACROSS = 1.1
"""A box is grown by ALONG x area / perimeter at both ends of its line, by ACROSS x the same above and below.

Usual is 1.6 on all sides. On a large page, scaled down far, that cuts into the first letter; on a dense page
it takes in strokes of the lines above and below.
"""
RUNS_DOWN = 1.5  # a crop this many times higher than wide holds a line that runs down the page


def find_boxes(probability: Floats, width: int, height: int) -> Floats:
    """Return a box per line of text.

    Args:
        probability: (h, w), how likely each pixel of the scaled page is the core of a line, in [0, 1].
        width: of the page itself, pixels.
        height: of the page itself, pixels.

    Returns:
        (n, 4, 2), x and y on the page of top left, top right, bottom right, bottom left. A box near the edge
        may reach over it.
    """
    cores = cv2.dilate((probability > IS_TEXT).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(cores, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([width / probability.shape[1], height / probability.shape[0]])
    boxes = []
    for contour in contours:
        center, sides, angle = cv2.minAreaRect(contour)
        if min(sides) < LEAST_SIDE:
            continue
        if _mean_inside(probability, cv2.boxPoints((center, sides, angle))) < LEAST_SCORE:
            continue
        grown = cv2.boxPoints((center, _grown(*sides), angle))
        boxes.append(_clockwise(grown * scale))
    return np.array(boxes, np.float32).reshape(-1, 4, 2)


def straighten(image: Image, box: Floats) -> Image:
    """Return what is inside a box, (h, w, 3), turned so that its line runs across; it may be upside down."""
    width, height = (max(1, round(side)) for side in _sides(box))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    straight = cv2.warpPerspective(
        image,
        cv2.getPerspectiveTransform(box, corners),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if _runs_down(box):
        straight = cv2.rotate(straight, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return straight.astype(np.uint8, copy=False)


def reading_order(boxes: Sequence[Corners], upside_down: Sequence[bool]) -> list[int]:
    """Return the places of lines in the order of reading: from the top down, side by side from the left.

    Top and left are the text's own: a page may lie askew, on its side or upside down.

    Args:
        boxes: corners of each line.
        upside_down: of each line, whether it was so after it was straightened.
    """
    if not boxes:
        return []
    corners = np.array(boxes, np.float32)
    ways = [_way(box) * (-1 if turned else 1) for box, turned in zip(corners, upside_down, strict=True)]
    x, y = np.sum(ways, axis=0)
    middles = corners.mean(axis=1) @ np.array([[x, -y], [y, x]]) / max(1.0, np.hypot(x, y))
    rows: list[list[int]] = []
    row_end = float("-inf")
    for place in np.argsort(middles[:, 1], kind="stable").tolist():
        if middles[place, 1] > row_end:
            rows.append([])
            row_end = middles[place, 1] + min(_sides(corners[place])) / 2
        rows[-1].append(place)
    return [place for row in rows for place in sorted(row, key=lambda place: float(middles[place, 0]))]


def _grown(width: float, height: float) -> tuple[float, float]:
    growth = width * height / (width + height)  # at both ends together: the perimeter is twice the sum
    if width > height:
        return width + ALONG * growth, height + ACROSS * growth
    return width + ACROSS * growth, height + ALONG * growth


def _way(box: Floats) -> Floats:
    """Return the way from the start of a line to its end, if it is not upside down."""
    top_left, top_right, _, bottom_left = box
    end = bottom_left if _runs_down(box) else top_right
    return np.asarray(end - top_left, np.float32)


def _runs_down(box: Floats) -> bool:
    width, height = _sides(box)
    return height >= RUNS_DOWN * width


def _sides(box: Floats) -> tuple[float, float]:
    top, right, bottom, left = np.linalg.norm(np.roll(box, -1, axis=0) - box, axis=1).tolist()
    return max(top, bottom), max(left, right)


def _mean_inside(probability: Floats, box: MatLike) -> float:
    inside = np.zeros(probability.shape, np.uint8)
    cv2.fillPoly(inside, [box.astype(np.int32)], (1,))
    return cv2.mean(probability, inside)[0]


def _clockwise(box: MatLike) -> MatLike:
    """Order four corners from the top left one on; of two equally far left the upper comes first."""
    left, right = np.split(box[np.argsort(box[:, 0], kind="stable")], 2)
    top_left, bottom_left = left[np.argsort(left[:, 1])]
    top_right, bottom_right = right[np.argsort(right[:, 1])]
    return np.array([top_left, top_right, bottom_right, bottom_left])
