"""Tables of training plans: read, predicted in each row's own metric, or refused for a reason."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from simulator.calibration.trained import (
    device_of,
    framework_of,
    global_batch_of,
    plan_of,
    precision_of,
    predict_trained,
    zero_of,
)
from simulator.calibration.trained_rows import COLUMNS, TrainedRow, is_trained, read_trained
from simulator.errors import InputError, UnsupportedError
from simulator.report.trained import trained_summary

HEADING = (
    "id,workload,profile,devices,precision,global_batch,micro_batch,sequence,tp,pp,cp,ep,vp,zero_or_fsdp,recompute,"
    "tokens_per_s_per_gpu,step_s,memory_gib,software,note\n"
)
NEMO = "a,llama3_8b,h100-sxm5-80gb,8,bf16,16,1,4096,2,2,,,2,ddp,,9000,,60,NeMo,pre-training\n"
ROWS = (
    NEMO
    + "b,gpt2,a100-sxm4-80gb,8,bf16,64,8,,1,1,,,,fsdp full_shard,none,,0.5,,PyTorch,\n"
    + "c,,a100-sxm4-80gb,8,bf16,64,8,,1,1,,,,,none,,0.5,,PyTorch,\n"
    + "d,gpt2,a100-sxm4-80gb,8,bf16,64,8,,1,1,,,,,none,,0.5,,NeMo,lora; SFT\n"
    + "e,gpt2,a100-sxm4-80gb,8,bf16,64,8,,3,1,,,,,none,,0.5,,NeMo,\n"
)


def table(folder: Path, rows: str = ROWS) -> Path:
    path = folder / f"plans-{abs(hash(rows))}.csv"
    path.write_text(HEADING + rows, encoding="utf-8")
    return path


def row(folder: Path, text: str = NEMO) -> TrainedRow:
    return read_trained(table(folder, text))[0]


def test_a_table_is_known_by_its_heading(tmp_path: Path) -> None:
    assert is_trained(table(tmp_path))
    other = tmp_path / "steps.csv"
    other.write_text("workload,device,task,precision,batch,devices,step_s\n", encoding="utf-8")
    assert not is_trained(other)


def test_a_row_becomes_a_plan(tmp_path: Path) -> None:
    plan = plan_of(row(tmp_path))
    assert plan.label == "dp=2,tp=2,pp=2"
    assert (plan.zero, plan.virtual, plan.schedule, plan.sequence) == (1, 2, "interleaved", True)


@pytest.mark.parametrize(
    ("zero", "software", "stage"),
    [
        ("zero3", "DeepSpeed", 3),
        ("fsdp64", "NeMo", 3),
        ("hsdp", "fms-fsdp", 3),
        ("fsdp shard_grad_op (DEFAULT)", "llm-foundry", 2),
        ("ddp", "NeMo/Megatron-Bridge 26.08", 1),
        ("", "PyTorch", 0),
    ],
)
def test_what_data_ranks_share_out(tmp_path: Path, zero: str, software: str, stage: int) -> None:
    text = NEMO.replace(",ddp,", f",{zero},").replace(",NeMo,", f",{software},")
    assert zero_of(row(tmp_path, text)) == stage


def test_software_has_a_framework() -> None:
    assert framework_of("Megatron-LM") == "megatron"
    assert framework_of("Megatron-LM 23e00ed, TE 2.11, torch 2.10") == "megatron-2025"
    assert framework_of("NeMo/Megatron-Bridge 26.04.01") == "megatron-2025"
    assert framework_of("NeMo/Megatron-Bridge 26.06", family="blackwell") == "megatron"
    assert framework_of("NeMo/Megatron-Bridge 26.06", family="hopper") == "megatron-2025"
    assert framework_of("llm-foundry (MPT, triton flash attention)") == "composer"
    assert framework_of("MaxText/tpu-recipes") == "jax"
    assert framework_of("of our own") == "pytorch"


def test_software_says_what_a_row_does_not(tmp_path: Path) -> None:
    assert framework_of("torchtitan 9dec370", "Table 1; FSDP; eager; 90") == "pytorch"
    assert framework_of("torchtitan 9dec370", "Table 1; FSDP + torch.compile") == "pytorch-compiled"
    # 8 devices over tp = 2 and pp = 2 are 2 replicas.
    local = row(tmp_path, NEMO.replace(",16,1,4096", ",,,4096").replace(",pre-training", ",local batch size 12"))
    assert global_batch_of(local) == 24
    titan = row(tmp_path, NEMO.replace(",16,1,4096", ",,3,4096").replace(",NeMo,", ",torchtitan,"))
    assert global_batch_of(titan) == 6
    with pytest.raises(UnsupportedError, match="global_batch"):
        global_batch_of(row(tmp_path, NEMO.replace(",16,1,4096", ",,3,4096")))
    flat = NEMO.replace(",16,1,4096,2,2,,,2,ddp", ",16,,4096,,,,,,")
    assert plan_of(row(tmp_path, flat)).microbatch == 1
    assert plan_of(row(tmp_path, flat.replace(",NeMo,", ",MaxText,"))).microbatch is None
    assert zero_of(row(tmp_path, flat.replace(",NeMo,", ",MaxText,"))) == 3
    plan = plan_of(row(tmp_path, NEMO.replace(",NeMo,", ",Megatron-DeepSpeed,")))
    assert (plan.sequence, plan.overlap) == (False, False)


def test_each_row_is_predicted_or_has_its_reason(tmp_path: Path) -> None:
    cases = [case for found in read_trained(table(tmp_path)) for case in predict_trained(found)]
    by_id = {(case.row.id, case.metric): case for case in cases}
    rate, memory = by_id["a", "tokens_per_s_per_gpu"], by_id["a", "memory_gib"]
    assert rate.low < rate.predicted < rate.high
    assert rate.error == pytest.approx(rate.measured / rate.predicted - 1)
    assert memory.predicted > 1
    assert by_id["b", "step_s"].error == pytest.approx(by_id["b", "step_s"].predicted / 0.5 - 1)
    reasons = {case.row.id: case.reason for case in cases if math.isnan(case.predicted)}
    assert reasons["c"] == "the table does not say the workload"
    assert "LoRA" in reasons["d"]
    assert "does not divide 8 devices" in reasons["e"]
    summary = trained_summary(cases)
    assert (summary["rows"], summary["not_predicted"]) == (6, 3)
    assert {"id", "metric", "measured", "predicted", "low", "high"} <= set(summary["cases"][0])


def test_a_precision_that_stands_in_the_note(tmp_path: Path) -> None:
    unsaid = NEMO.replace(",bf16,", ",,")
    assert precision_of(row(tmp_path, unsaid.replace("pre-training", "other quantisation (fp8 recipes)"))) == "fp8"
    assert (precision_of(row(tmp_path, unsaid)), precision_of(row(tmp_path))) == ("", "bf16")


def test_whose_exchange_goes_beside_products(tmp_path: Path) -> None:
    assert plan_of(row(tmp_path)).pipelined
    assert not plan_of(row(tmp_path, NEMO.replace(",NeMo,", ",Megatron-LM,"))).pipelined
    titan = NEMO.replace(",NeMo,pre-training", ",torchtitan,async TP")
    assert plan_of(row(tmp_path, titan)).pipelined
    assert not plan_of(row(tmp_path, titan.replace("async", "vanilla"))).pipelined
    assert not plan_of(row(tmp_path, NEMO.replace(",2,2,,,2,ddp", ",1,4,,,2,ddp"))).pipelined


def test_a_machine_whose_products_were_timed(tmp_path: Path) -> None:
    text = NEMO.replace(",h100-sxm5-80gb,", ",b200,").replace(",NeMo,", ",Megatron-LM 23e00ed,")
    assert device_of(row(tmp_path, text)).sustained["matrix"] == 0.48
    assert device_of(row(tmp_path, text.replace("23e00ed", "of others"))).sustained["matrix"] > 0.48


def test_a_note_that_names_the_machine(tmp_path: Path) -> None:
    # 16 devices in two nodes: eight ports of 25 GB/s a node against four of 12.5, between the stages.
    text = "h,llama3_8b,a100-sxm4-80gb,16,bf16,64,1,8192,8,2,,,,,none,,9,,NeMo,\n"
    there = text.replace("NeMo,", "NeMo,on Jean Zay (8xA100-80GB; 4x100 Gb/s a node)")
    (usual,), (slow,) = (predict_trained(row(tmp_path, rows)) for rows in (text, there))
    assert slow.predicted > usual.predicted


def test_recomputation_that_is_not_said_is_the_least_that_fits(tmp_path: Path) -> None:
    text = "f,llama3_8b,a100-sxm4-80gb,8,bf16,32,4,8192,1,1,,,,fsdp,,,9,,PyTorch,\n"
    small = text.replace(",32,4,8192,", ",8,1,8192,")
    (one,), (four,) = (predict_trained(row(tmp_path, rows)) for rows in (small, text))
    # A sample of 8,192 positions fits as it is; four fit where each block is computed again: a third more.
    assert 1.15 * 4 < four.predicted / one.predicted < 1.4 * 4


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("g,gpt2,v100,eight,bf16,64,8,,1,1,,,,,,,1,,,\n", "devices 'eight'"),
        ("g,gpt2,v100,-8,bf16,64,8,,1,1,,,,,,,1,,,\n", "positive"),
    ],
)
def test_a_malformed_number_names_its_line(tmp_path: Path, rows: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"line 2: .*{words}"):
        read_trained(table(tmp_path, rows))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plans.csv"
    path.write_text(",".join(column for column in COLUMNS if column != "profile") + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="'profile' is missing"):
        read_trained(path)
