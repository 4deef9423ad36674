"""Systems under MLPerf's rules: language models, and queries that come by chance."""

from dataclasses import replace

import pytest

from simulator.calibration import offline
from simulator.calibration.offline import SystemRow, latency_s, samples_per_s
from simulator.calibration.texts import NUMBERS, TEXTS, answered_per_s
from simulator.errors import UnsupportedError

ROW = SystemRow("llama2_70b", "h100-sxm5-80gb", "fp16", "TensorRT 10.2.0", 8, 0, "scenario Offline; x", 2024)


def test_half_width_weights_are_multiplied_in_eight_bits_where_tensor_cores_can() -> None:
    assert samples_per_s(ROW) == samples_per_s(replace(ROW, format="fp8"))
    assert offline._form(replace(ROW, device="b200")) == "fp4"
    assert offline._form(replace(ROW, workload="bert_large")) == "int8"
    assert offline._form(replace(ROW, workload="bert_large", device="a100-sxm4-80gb")) == "fp16"
    assert offline._form(replace(ROW, workload="resnet50")) == "fp16"


def test_a_limit_of_latency_never_raises_the_rate() -> None:
    server = replace(ROW, note="scenario Server; x")
    assert 0.5 * samples_per_s(ROW) < samples_per_s(server) <= samples_per_s(ROW)


def test_devices_answer_side_by_side() -> None:
    assert samples_per_s(replace(ROW, devices=16)) == pytest.approx(2 * samples_per_s(ROW))


def test_one_h100_cannot_hold_the_weights_in_half_width() -> None:
    """70 billion weights of two bytes are 140 GB: two of 80 GB leave too little for the cache, so that four share."""
    a100 = answered_per_s("llama2_70b", "a100-sxm4-80gb", "fp16", "tensorrt-llm", limited=False)
    h100 = answered_per_s("llama2_70b", "h100-sxm5-80gb", "fp16", "tensorrt-llm", limited=False)
    assert 0 < a100 < h100
    with pytest.raises(UnsupportedError, match="no degree of llama2_70b"):
        answered_per_s("llama2_70b", "t4", "fp16", "tensorrt-llm", limited=False)


def test_four_beams_cost_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("gptj_6b", "h100-sxm5-80gb", "fp8", "tensorrt-llm")
    four = answered_per_s(*asked, limited=False)
    monkeypatch.setitem(TEXTS, "gptj_6b", replace(TEXTS["gptj_6b"], beams=1))
    assert four < answered_per_s(*asked, limited=False)
    assert len(NUMBERS) == len(set(NUMBERS))


def test_a_step_and_the_one_before_it_keep_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 1 ms and 0.1 ms a sample: 64 samples take 7.4 ms, of which two are 14.8; 96 would take 10.6.

    Of a mean of 47.9 queries a step, in 99 of 100 cases no more than 47.9 + 2.326 x 6.92 = 64 come.
    """
    monkeypatch.setattr(offline, "_seconds", lambda *asked: 1e-3 + 1e-4 * asked[-1])
    row = replace(ROW, workload="resnet50", format="int8", note="scenario Server")
    assert samples_per_s(row) == pytest.approx(8 * 47.9 / 7.4e-3, rel=1e-3)
    monkeypatch.setattr(offline, "_seconds", lambda *_: 0.01)
    with pytest.raises(UnsupportedError, match="no step is short enough"):
        samples_per_s(row)
    with pytest.raises(UnsupportedError, match="a limit of latency that is not known"):
        samples_per_s(replace(row, workload="vgg16"))


def test_what_cannot_be_said_has_a_reason() -> None:
    for changed, reason in (
        ({"workload": ""}, "has no workload"),
        ({"note": "scenario Offline; system A100_MIG"}, "a slice of a device"),
        ({"engine": "OpenVINO", "workload": "resnet50"}, "no framework for OpenVINO"),
        ({"workload": "gpt2"}, "lengths of the benchmark's texts"),
    ):
        with pytest.raises(UnsupportedError, match=reason):
            samples_per_s(replace(ROW, **changed))  # type: ignore[arg-type]
    assert latency_s(replace(ROW, workload="bert_large", format="int8", batch=1)) < 5e-3
