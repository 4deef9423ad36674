"""What torchvision's detectors do after their networks, bounded: stand-ins for its modules, and torchvision itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from simulator.workload.importers import Request
from simulator.workload.reading import load_workload

FETCHING = """
import torch
from torch.hub import load_state_dict_from_url

def net():
    module = torch.nn.Linear(4, 2)
    module.load_state_dict(load_state_dict_from_url("https://nowhere.invalid/weights.pth"))
    return module
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


def test_weights_are_not_fetched(tmp_path: Any) -> None:
    torch: Any = pytest.importorskip("torch")
    (tmp_path / "fetching.py").write_text(FETCHING)
    fetch, load = torch.hub.load_state_dict_from_url, torch.nn.Module.load_state_dict
    workload = load_workload(f"torch:{tmp_path / 'fetching.py'}:net", request=Request(input_shape=(4,)))
    assert workload.parameters == 10
    assert (torch.hub.load_state_dict_from_url, torch.nn.Module.load_state_dict) == (fetch, load)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters"), [("mask", 44_401_393), ("keypoint", 59_137_258)])
def test_detectors_of_torchvision(name: str, parameters: int) -> None:
    """Parameters as torchvision's documentation has them."""
    pytest.importorskip("torchvision")
    asked = Request(input_shape=(3, 160, 160), training=False, boxes=20)
    workload = load_workload(f"torch:torchvision.models.detection:{name}rcnn_resnet50_fpn", request=asked)
    assert workload.parameters == parameters
    assert "20 entries at most" in workload.description
