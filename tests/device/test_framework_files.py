"""A framework's file of a user's own: units, defaults, likeness to one that ships, and values that a fit tries."""

from __future__ import annotations

from dataclasses import astuple
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest

from simulator.device.framework import (
    NEVER_LATE,
    Framework,
    ProcessorCalls,
    Reserve,
    load_framework,
    with_files,
)
from simulator.device.framework_profile import ExecutionPath
from simulator.device.provenance import Provenance
from simulator.errors import InputError
from simulator.precision import get_precision

PLAIN: dict[str, Any] = {
    **dict.fromkeys(("elementwise", "convolution", "products", "attention", "depthwise_gradients", "windows"), 1.0),
    "persistent": False,
    **dict.fromkeys(
        ("folds", "fuses", "promotes", "casts", "many_filters", "heads_in_place", "walks_windows", "inlines"), False
    ),
    "biases": (),
    **dict.fromkeys(("hopper_attention", "odd_batches", "odd_groups", "tf32_groups"), True),
    **dict.fromkeys(("poor_groups", "launched_groups", "half_last", "joins"), ()),
    **dict.fromkeys(("transposes", "narrow_gradients", "large_depthwise", "own_depthwise", "channel_operations"), 0.0),
    "layout": "channels first",
    "on_families": {},
}
"""A library that has every kernel and changes none."""


def own(folder: Path, *lines: str) -> Framework:
    file = folder / "own.yaml"
    file.write_text("\n".join(["name: own", "kind: framework", "description: mine", *lines]), encoding="utf-8")
    return load_framework(str(file))


def test_what_is_left_out_adds_nothing(tmp_path: Path) -> None:
    found = own(tmp_path, "dispatch: {forward: 10 us, backward: 20 us, update: 5 us}")
    assert found.dispatch_s == pytest.approx((10e-6, 20e-6, 20e-6, 5e-6))
    assert (found.step_s, found.helpers_s, found.expert_s, found.tower_s) == (0.0, 0.0, 0.0, 0.0)
    assert msgspec.structs.asdict(found.plain) == msgspec.structs.asdict(found.mixed) == PLAIN
    calls = found.processor
    assert (calls.call_s, calls.convolution_s, calls.relayout, calls.channels_last) == (None, 0.0, 0.0, False)
    assert (calls.packing, calls.first_touch) == (0.0, 0.0)
    assert msgspec.structs.astuple(found.reserve) == (0.0, 0.0, 0.0, False, (), inf)
    assert (found.bucket_bytes, found.accumulation) == (25 * 2**20, "added")
    assert not found.eager_attention
    assert (found.aliases, found.description) == ((), "mine")


def test_what_is_said_is_read_in_its_units(tmp_path: Path) -> None:
    found = own(
        tmp_path,
        "dispatch: {forward: 10 us, backward: 20 us, update: 5 us, step: 1 ms, helpers: 2 us}",
        "processor: {call: 3 us, convolution: 4 us, relayout: 2, packing: 1.5, first_touch: 0.25}",
        "plain: {layout: channels last}",
        "memory: {context: 500 MiB, workspace: 32 MiB, algorithms: 1 GiB, fragmentation: 0.04, loss_in_place: true}",
        "gradients: {bucket: all, tower: 30 ms, accumulation: fused}",
        "experts: {issue: 100 us}",
        "eager_attention: true",
        "aliases: [mine]",
    )
    assert (found.step_s, found.helpers_s) == pytest.approx((1e-3, 2e-6))
    assert (found.expert_s, found.tower_s) == pytest.approx((100e-6, 30e-3))
    assert found.processor == ProcessorCalls(pytest.approx(3e-6), pytest.approx(4e-6), 2.0, True, 1.5, 0.25)
    assert found.reserve == Reserve(500 * 2**20, 32 * 2**20, 0.04, loss_in_place=True, algorithm_bytes=2**30)
    assert (found.bucket_bytes, found.accumulation, found.eager_attention) == (inf, "fused", True)
    assert found.aliases == ("mine",)


def test_mixed_precision_takes_a_path_of_its_own(tmp_path: Path) -> None:
    found = own(tmp_path, "dispatch: {forward: 1 us, backward: 1 us, update: 1 us}", "mixed: {elementwise: 0.5}")
    assert found.path(get_precision("fp32")).elementwise == 1.0
    assert found.path(get_precision("amp")).elementwise == 0.5


def test_one_that_is_like_another(tmp_path: Path) -> None:
    stock = load_framework("pytorch")
    found = own(
        tmp_path,
        "like: pytorch",
        "dispatch: {forward: 1 us, backward: 2 us, update: 3 us}",
        "gradients: {bucket: 100 MiB}",
        "sources:",
        "  - {of: [dispatch], grade: measured, source: my own}",
    )
    assert (found.dispatch_s, found.bucket_bytes) == (pytest.approx((1e-6, 2e-6, 2e-6, 3e-6)), 100 * 2**20)
    # A section is merged value by value, so that the step's time is still the other's.
    assert (found.step_s, found.mixed, found.processor) == (stock.step_s, stock.mixed, stock.processor)
    assert found.provenance["dispatch.forward"] == Provenance("measured", "my own")
    assert found.provenance["dispatch.step"] == stock.provenance["dispatch.step"]
    assert found.provenance["gradients.bucket"].grade == "assumption"
    assert (found.origin["dispatch.step"], found.written["dispatch.step"]) == ("pytorch", "831 us")
    assert (found.written["gradients.bucket"], found.written["dispatch.forward"]) == ("100 MiB", "1 us")
    assert found.origin["dispatch.forward"].endswith("own.yaml")


def test_what_is_like_another_by_assumption_is_assumed(tmp_path: Path) -> None:
    source = "  - {of: [like], grade: assumption, source: it has no rows}"
    found = own(tmp_path, "like: pytorch", "sources:", source)
    assert set(found.provenance.values()) == {Provenance("assumption", "it has no rows")}


def test_a_likeness_that_was_measured_keeps_the_others_grades(tmp_path: Path) -> None:
    found = own(tmp_path, "like: pytorch", "sources:", "  - {of: [like], grade: measured, source: same kernels}")
    assert found.provenance == load_framework("pytorch").provenance


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("aliases: []", "give dispatch, or the framework that it is like"),
        ("like: other.yaml", "like: 'other.yaml' must be the name of a framework that ships"),
        ("like: other.yml", "must be the name of a framework that ships"),
        ("dispatch: {forward: 1 GB, backward: 1 us, update: 1 us}", "dispatch: "),
        ("dispatch: {forwards: 1 us}", "forwards"),
    ],
)
def test_a_file_that_says_too_little_is_refused(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        own(tmp_path, line)


def test_no_framework_is_never_late() -> None:
    assert NEVER_LATE.dispatch_s == (0.0, 0.0, 0.0, 0.0)
    assert (NEVER_LATE.step_s, NEVER_LATE.helpers_s) == (0.0, 0.0)
    assert (NEVER_LATE.expert_s, NEVER_LATE.tower_s) == (0.0, 0.0)
    assert msgspec.structs.astuple(NEVER_LATE.reserve) == (0.0, 0.0, 0.0, False, (), inf)
    assert astuple(NEVER_LATE.processor) == (None, 0.0, 0.0, False, 0.0, 0.0)
    assert (NEVER_LATE.accumulation, NEVER_LATE.eager_attention, NEVER_LATE.blocking) == ("added", False, False)
    assert NEVER_LATE.plain == NEVER_LATE.mixed == ExecutionPath()
    assert NEVER_LATE.bucket_bytes == inf


TRIED = {
    "dispatch.forward": 1.0,
    "dispatch.backward": 2.0,
    "dispatch.update": 3.0,
    "dispatch.step": 4.0,
    "dispatch.helpers": 5.0,
    "plain.transposes": 6.0,
    "mixed.convolution": 7.0,
    "processor.call": 8.0,
    "processor.convolution": 9.0,
    "processor.packing": 10.0,
    "processor.first_touch": 11.0,
}


def test_a_fit_tries_values_in_place_of_a_files() -> None:
    stock = load_framework("pytorch")
    found = with_files(stock, {("frameworks/pytorch", key): value for key, value in TRIED.items()})
    assert (found.dispatch_s, found.step_s, found.helpers_s) == ((1.0, 2.0, 2.0, 3.0), 4.0, 5.0)
    assert (found.plain.transposes, found.mixed.convolution) == (6.0, 7.0)
    assert (found.mixed.transposes, found.plain.convolution) == (stock.mixed.transposes, stock.plain.convolution)
    calls = found.processor
    assert (calls.call_s, calls.convolution_s, calls.packing, calls.first_touch) == (8.0, 9.0, 10.0, 11.0)
    assert calls.relayout == stock.processor.relayout


def test_a_value_that_another_file_gives_is_tried_there() -> None:
    earlier = load_framework("pytorch-2022")  # all but `plain.tf32_groups` is PyTorch's own
    assert with_files(earlier, {("frameworks/pytorch", "dispatch.step"): 4.0}).step_s == 4.0
    assert with_files(earlier, {("frameworks/pytorch-2022", "dispatch.step"): 4.0}) == earlier
    assert with_files(earlier, {("families/gpu", "dispatch.step"): 4.0}) == earlier
    assert with_files(earlier, {}) == earlier


def test_a_key_that_belongs_elsewhere_is_not_its_own_suggestion(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown field `layout` - at `processor`.*did you mean 'relayout'\?"):
        own(tmp_path, "dispatch: {forward: 10 us, backward: 20 us, update: 5 us}", "processor: {layout: 2}")
