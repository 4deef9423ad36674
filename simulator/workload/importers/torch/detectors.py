"""What torchvision's detectors do on the host to their answers, number by number, as a trace without values has it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn import functional

ROOMS = ("torchvision.models.detection.transform", "torchvision.models.detection.roi_heads")


@contextmanager
def bounded() -> Iterator[None]:
    """Masks are pasted as if each filled its image; key points are searched in heat maps of their own size.

    torchvision does both box by box, at sizes that the boxes' values give.
    """
    bounds = {"paste_masks_in_image": _pasted, "heatmaps_to_keypoints": _key_points}
    places = [(sys.modules[room], name) for room in ROOMS if room in sys.modules for name in bounds]
    kept = [(room, name, getattr(room, name)) for room, name in places if hasattr(room, name)]
    for room, name, _ in kept:
        setattr(room, name, bounds[name])
    try:
        yield
    finally:
        for room, name, own in kept:
            setattr(room, name, own)


def _pasted(masks: Any, boxes: Any, img_shape: tuple[int, int], padding: int = 1) -> Any:  # noqa: ARG001
    """(boxes, 1, side, side) -> (boxes, 1, height, width)."""
    return functional.interpolate(masks, size=tuple(map(int, img_shape)), mode="bilinear", align_corners=False)


def _key_points(maps: Any, rois: Any) -> tuple[Any, Any]:
    """(boxes, points, side, side) -> places (boxes, points, 3) and scores (boxes, points)."""
    scores, places = maps.flatten(2).max(-1)
    side = maps.shape[-1]
    columns, rows = (places % side) * (rois[:, 2:3] - rois[:, 0:1]), (places // side) * (rois[:, 3:4] - rois[:, 1:2])
    return functional.pad((columns + rows).unsqueeze(-1), (0, 2)), scores
