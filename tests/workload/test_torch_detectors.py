"""What torchvision's detectors do after their networks, bounded: stand-ins for its modules, and torchvision itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from simulator.workload.importers import Request
from simulator.workload.reading import load_workload

DETECTORS = """
from torchvision.models import detection

def mask():
    return detection.maskrcnn_resnet50_fpn(weights_backbone=None)

def keypoint():
    return detection.keypointrcnn_resnet50_fpn(weights_backbone=None)
"""


def test_functions_are_exchanged_while_a_trace_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch")
    from simulator.workload.importers.torch.detectors import ROOMS, bounded

    room: Any = ModuleType(ROOMS[0])
    room.paste_masks_in_image = own = object()
    monkeypatch.setitem(sys.modules, ROOMS[0], room)
    with bounded():
        masks, boxes = torch.empty(3, 1, 28, 28, device="meta"), torch.empty(3, 4, device="meta")
        assert room.paste_masks_in_image(masks, boxes, (40, 50)).shape == (3, 1, 40, 50)
        assert not hasattr(room, "heatmaps_to_keypoints")
    assert room.paste_masks_in_image is own


def test_key_points_have_the_shapes_of_the_library() -> None:
    torch: Any = pytest.importorskip("torch")
    from simulator.workload.importers.torch.detectors import _key_points

    places, scores = _key_points(torch.empty(3, 17, 56, 56, device="meta"), torch.empty(3, 4, device="meta"))
    assert (places.shape, scores.shape) == ((3, 17, 3), (3, 17))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters"), [("mask", 44_454_513), ("keypoint", 59_190_378)])
def test_detectors_of_torchvision(name: str, parameters: int, tmp_path: Any) -> None:
    pytest.importorskip("torchvision")
    (tmp_path / "detectors.py").write_text(DETECTORS)
    asked = Request(input_shape=(3, 160, 160), training=False, boxes=20)
    workload = load_workload(f"torch:{tmp_path / 'detectors.py'}:{name}", request=asked)
    assert workload.parameters == parameters
    assert "20 entries at most" in workload.description
