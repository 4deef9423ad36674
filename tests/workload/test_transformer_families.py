"""Transformer workloads: totals against a table of our own, layers against other counters' where those are at hand."""

from __future__ import annotations

import csv
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.op.attention import Attention
from simulator.op.optimizer import get_optimizer
from simulator.workload.importers import Request
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import Workload

TRUTH = Path(__file__).resolve().parents[2] / ".." / "shared" / "facts" / "layer_truth"

# Workload, sequence (None: its own), parameters, multiply-accumulates. Parameters are those of the published
# checkpoints; MACs are those of a trace of every matrix product in torchvision 0.29 and transformers 5.23, attention
# over the whole square, the head at every position.
TRACED = [
    ("vit_b_16", None, 86_567_656, 17_563_828_224),
    ("vit_b_32", None, 88_224_232, 4_409_186_304),
    ("vit_l_16", None, 304_326_632, 61_554_712_576),
    ("swin_t", None, 28_288_354, 4_490_566_656),
    ("swin_s", None, 49_606_258, 8_740_875_264),
    ("swin_b", None, 87_768_224, 15_430_946_816),
    ("bert_base", 128, 109_482_240, 11_174_215_680),
    ("bert_base", 384, 109_482_240, 35_333_406_720),
    ("bert_base", 512, 109_482_240, 48_318_971_904),
    ("bert_large", 128, 335_141_888, 39_461_060_608),
    ("bert_large", 384, 335_141_888, 123_212_922_880),
    ("gpt2", 1024, 124_439_808, 145_824_153_600),
    ("gpt2_medium", 1024, 354_823_168, 413_475_536_896),
    ("gpt2_large", 1024, 774_030_080, 887_285_350_400),
    ("gpt2_xl", 1024, 1_557_611_200, 1_753_351_782_400),
    ("llama2_7b", 2048, 6_738_415_616, 14_630_806_093_824),
    ("llama2_13b", 2048, 13_015_864_320, 28_038_083_379_200),
    ("llama2_70b", 2048, 68_976_648_192, 146_222_161_592_320),
    ("llama3_8b", 2048, 8_030_261_248, 16_469_052_096_512),
    ("mistral_7b", 2048, 7_241_732_096, 15_661_598_244_864),
    ("qwen3_8b", 2048, 8_190_735_360, 16_736_413_810_688),
    ("t5_small", None, 60_506_624, 18_312_331_264),
    ("t5_base", None, 222_903_552, 72_917_975_040),
]

# Parameters of published checkpoints for which no trace was made; GPT-3's are our sums over the paper's table 2.1.
PUBLISHED = [
    ("bert_large_pretraining", 336_226_108),
    ("gpt3_xl", 1_315_723_264),
    ("gpt3_2.7b", 2_651_553_280),
    ("gpt3_175b", 174_604_259_328),
    ("opt_1.3b", 1_315_758_080),
    ("llama3_70b", 70_553_706_496),
    ("llama3_405b", 405_853_388_800),
    ("mixtral_8x7b", 46_702_792_704),
    ("qwen2_7b", 7_615_616_512),
    ("gemma2_2b", 2_614_341_888),
    ("gemma2_27b", 27_227_128_320),
    ("deepseek_v3", 671_026_404_352),
    ("t5_large", 737_668_096),
]

LAYERS = [
    ("bert_base_seq128", "bert_base", 128),
    ("bert_base_seq384", "bert_base", 384),
    ("bert_large_seq128", "bert_large", 128),
    ("gpt2_seq1024", "gpt2", 1024),
    ("gpt2_large_seq1024", "gpt2_large", 1024),
    ("llama-2-7b_seq2048", "llama2_7b", 2048),
    ("meta-llama-3.1-8b_seq2048", "llama3_8b", 2048),
    ("vit_b_16", "vit_b_16", None),
    ("vit_b_32", "vit_b_32", None),
    ("swin_t", "swin_t", None),
    ("t5-small_enc512_dec128", "t5_small", None),
]

NAMES = sorted({row[0] for row in TRACED} | {row[0] for row in PUBLISHED})


def load(name: str, sequence: int | None = None, attention: Any = None) -> Workload:
    return load_workload(name, request=Request(sequence=sequence, attention=attention))


def attentions(workload: Workload) -> list[Attention]:
    return [layer.op for layer in workload.layers if isinstance(layer.op, Attention)]


def products(workload: Workload) -> Counter[int]:
    """MACs of each matrix product; attention has two."""
    result: Counter[int] = Counter()
    for layer, counts in zip(workload.layers, workload.counts, strict=True):
        if isinstance(layer.op, Attention):
            geometry = layer.op.geometry(layer.inputs)
            result.update([geometry.scores * geometry.key_size, geometry.scores * geometry.value_size])
        elif counts.macs:
            result[counts.macs] += 1
    return result


@pytest.mark.parametrize(("name", "sequence", "parameters", "macs"), TRACED)
def test_totals(name: str, sequence: int | None, parameters: int, macs: int) -> None:
    workload = load(name, sequence)
    assert (workload.parameters, workload.macs) == (parameters, macs)


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED)
def test_parameters(name: str, parameters: int) -> None:
    assert load(name).parameters == parameters


def test_mixture_counts_the_chosen_experts() -> None:
    # Mixtral at 2048 tokens: a layer's projections 4096 x (2 x 4096 + 2 x 1024), router 4096 x 8, two of eight experts
    # of three matrices 4096 x 14336; attention 2 x 32 x 128 a pair; head 4096 x 32000.
    layer = 4096 * 10240 + 4096 * 8 + 2 * 3 * 4096 * 14336 + 2048 * 2 * 4096
    assert load("mixtral_8x7b", 2048).macs == 2048 * (32 * layer + 4096 * 32000)


def test_latent_attention_counts() -> None:
    # DeepSeek-V3, one token of 4096: active parameters without embedding and norms, and attention over 4096 keys of
    # 128 heads, 192 + 128 features. Active weights: 36.6 billion as its report counts them.
    macs = load("deepseek_v3").macs / 4096
    pairs = 61 * 4096 * 128 * (192 + 128)
    assert round((macs - pairs) / 1e9, 2) == 36.62


@pytest.mark.parametrize("name", NAMES)
def test_fused_attention_changes_no_count(name: str) -> None:
    eager, fused = load(name, attention="eager"), load(name, attention="fused")
    assert (eager.parameters, eager.macs) == (fused.parameters, fused.macs)
    assert eager.coverage == fused.coverage == 1


@pytest.mark.parametrize("name", ["gpt2", "bert_base", "swin_t", "t5_small"])
def test_fused_attention_moves_less(name: str) -> None:
    moved = []
    for mode in ("eager", "fused"):
        kernels = lower(load(name, attention=mode), optimizer=get_optimizer("adam"))
        moved.append(float(np.sum(kernels.read[:, 1]) + np.sum(kernels.write[:, 1])))
    assert moved[1] < 0.9 * moved[0]


@pytest.mark.parametrize("name", NAMES)
def test_training_is_about_three_forward_passes(name: str) -> None:
    workload = load(name, attention="eager")
    flops = float(np.sum(lower(workload, optimizer=get_optimizer("adam")).flops[1]))
    assert 5.9 * workload.macs < flops < 6.8 * workload.macs


@pytest.mark.parametrize("name", ["llama3_405b", "deepseek_v3"])
def test_large_networks_take_a_time_in_proportion_to_their_layers(name: str) -> None:
    small, large = best_of_three("gpt2"), best_of_three(name)
    assert large < 3 * small * len(load(name, 1000).layers) / len(load("gpt2").layers)


def best_of_three(name: str) -> float:
    """Processor time of building a network. [s]"""
    times = []
    for _ in range(3):
        start = time.process_time()
        load_workload(name)
        times.append(time.process_time() - start)
    return min(times)


def test_dropout_of_the_probabilities_is_its_own() -> None:
    rates = {name: {op.dropout for op in attentions(load(name))} for name in ("gpt2", "opt_1.3b", "llama2_7b")}
    assert rates == {"gpt2": {0.1}, "opt_1.3b": {0.0}, "llama2_7b": {0.0}}


def test_sequence_is_an_option() -> None:
    assert load("bert_base", 64).inputs == ((64,),)
    with pytest.raises(InputError, match="longer than 512"):
        load("bert_base", 513)
    with pytest.raises(InputError, match="longer than 1024"):
        load("gpt2", 1025)


def test_images_of_other_sizes() -> None:
    workload = load_workload("vit_b_16", request=Request(image_size=384))
    assert (workload.parameters, workload.macs) == (86_859_496, 55_484_350_464)
    with pytest.raises(InputError, match="patches of 16"):
        load_workload("vit_b_16", request=Request(image_size=200))


def test_windows_are_padded() -> None:
    # 256 / 4 = 64 patches a side, padded to 70 = 10 windows of 7 in the first stage.
    workload = load_workload("swin_t", request=Request(image_size=256))
    assert workload.layers[4].output == (70 * 70, 96)


@pytest.mark.parametrize(
    ("family", "shape", "parameters", "message"),
    [
        ("decoder", [8], {"depth": 1, "hidden": 10, "vocabulary": 5, "heads": {"count": 3}}, "10 features"),
        ("decoder", [8], {"depth": 1, "hidden": 9, "vocabulary": 5, "heads": {"count": 3}}, "neither experts nor"),
        ("decoder", [8], {"depth": 10**9, "hidden": 9, "vocabulary": 5, "heads": {"count": 3}}, "10000"),
        ("decoder", [8], {"depth": 1, "hidden": 9, "vocabulary": 5, "heads": {"cuont": 3}}, "did you mean 'count'"),
        ("t5", [8], {"depth": 1, "hidden": 9, "heads": 3, "intermediate": 4}, "two inputs"),
        ("swin", [8], {"depths": [2], "heads": [1]}, "needs an image"),
        ("vit", [8], {"depth": 1, "hidden": 9, "heads": 3, "intermediate": 4}, "patches"),
    ],
)
def test_parameters_that_do_not_fit(family: str, shape: list[int], parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_workload({"name": "x", "family": family, "input": shape, **parameters}, "x.yaml")


@pytest.mark.parametrize(("file", "name", "sequence"), LAYERS)
def test_every_product_and_parameter_of_a_trace(file: str, name: str, sequence: int | None) -> None:
    path = TRUTH / f"{file}.csv"
    if not path.is_file():
        pytest.skip("the traces are not at hand")
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    workload = load(name, sequence)
    assert products(workload) == Counter(int(row["macs_forward"]) for row in rows if int(row["macs_forward"]))
    ours = Counter(layer.parameters for layer in workload.layers if layer.parameters)
    assert ours == Counter(int(row["params"]) for row in rows if int(row["params"]))
