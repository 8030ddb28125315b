"""Find boxes around lines of text in a detector's map, and cut straight images out of a page.

The detector marks the core of each line, shrunk by a fixed rule so that neighbouring lines do not touch. A
box is the rectangle around one core, grown back by that rule (Liao et al., Real-Time Scene Text Detection
with Differentiable Binarization, 2019).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

IS_TEXT = 0.3  # a pixel of the map above this belongs to a line
LEAST_SCORE = 0.5  # mean of the map inside a core; below it the core is noise
LEAST_SIDE = 3  # of a core, in pixels of the map
GROWTH = 0.9
"""A box is grown by GROWTH x area / perimeter on each side.

Usual is 1.6, which on a dense page takes in strokes of the lines above and below: then the line classifier
gives an upright line of page.png up to 0.85 of being upside down, against 0.26 at 0.9.
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
        center, (long, short), angle = cv2.minAreaRect(contour)
        core = cv2.boxPoints((center, (long, short), angle))
        if min(long, short) < LEAST_SIDE or _mean_inside(probability, core) < LEAST_SCORE:
            continue
        growth = GROWTH * long * short / (long + short)  # both sides of it: the perimeter is 2 (long + short)
        grown = cv2.boxPoints((center, (long + growth, short + growth), angle))
        boxes.append(_clockwise(grown * scale))
    return np.array(boxes, np.float32).reshape(-1, 4, 2)


def straighten(image: Image, box: Floats) -> Image:
    """Return what is inside a box, (h, w, 3), turned so that its line runs across; it may be upside down."""
    top, right, bottom, left = np.linalg.norm(np.roll(box, -1, axis=0) - box, axis=1).tolist()
    width, height = max(1, round(max(top, bottom))), max(1, round(max(left, right)))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    straight = cv2.warpPerspective(
        image,
        cv2.getPerspectiveTransform(box, corners),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if height >= RUNS_DOWN * width:
        straight = cv2.rotate(straight, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return straight.astype(np.uint8, copy=False)


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
