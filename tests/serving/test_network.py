"""A network taken apart for serving: bytes of weights and cache, shares of devices, work of experts and attention."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.errors import InputError, UnsupportedError
from simulator.op.attention import SOFTMAX_FLOPS
from simulator.op.kernel import Role
from simulator.op.kernels import at_batch
from simulator.op.linear import Linear
from simulator.serving.formats import get_format
from simulator.serving.network import Generator, generator_of
from simulator.serving.points import decode_columns, decoding_columns, expert_columns, prefill_columns
from simulator.serving.work import ExpertGroup, Work, work_of
from simulator.workload.reading import load_workload


def work(name: str, form: str = "fp16", ways: int = 1) -> Work:
    generator = generator_of(load_workload(name), ways)
    return work_of(generator, get_format(form), ways=ways, merges=True, fuses=True, by_experts=False)


@pytest.mark.parametrize(
    ("name", "form", "size"),
    [
        # Sizes that llama-bench prints for these files (strix-halo-testing, results.jsonl). [byte]
        # LLaMA 3.1's has 64 factors of rotation beside its weights.
        ("llama3_8b", "q4_k_m", 4_912_898_304 - 64 * 4),
        ("llama2_7b", "q4_k_m", 4_080_263_168),
        ("llama2_7b", "q4_0", 3_825_065_984),
    ],
)
def test_a_file_of_blocks_has_its_size_to_the_byte(name: str, form: str, size: int) -> None:
    assert work(name, form).weight_bytes == size


def test_half_width_weights_are_two_bytes_a_parameter() -> None:
    workload = load_workload("llama3_8b")
    assert work("llama3_8b").weight_bytes == 2 * workload.parameters


def test_the_cache_of_a_token() -> None:
    # 80 layers of keys and values, 8 heads of 128 each: 80 x 2 x 8 x 128 = 163,840 numbers.
    generator = generator_of(load_workload("llama3_70b"))
    assert sum(attending.cached for attending in generator.attention) == 163_840
    # Latent attention keeps the rank and the shared rotary part: 61 x (512 + 64) = 35,136.
    latent = generator_of(load_workload("deepseek_v3"))
    assert sum(attending.cached for attending in latent.attention) == 35_136


def test_a_window_keeps_no_more_than_its_span() -> None:
    spans = [attending.kept for attending in generator_of(load_workload("gemma2_2b")).attention]
    assert spans == [4096, None] * 13


def products(generator: Generator) -> int:
    return sum(
        layer.op.parameter_sizes(layer.inputs)[0]
        for position, layer in enumerate(generator.layers)
        if isinstance(layer.op, Linear) and position < generator.head
    )


@pytest.mark.parametrize("name", ["llama3_8b", "gpt2", "gptj_6b", "gemma2_2b"])
def test_two_devices_have_a_half_of_each_product_and_two_sums_a_layer(name: str) -> None:
    whole, half = generator_of(load_workload(name)), generator_of(load_workload(name), 2)
    assert 2 * products(half) == products(whole)
    layers = len(whole.attention)
    # GPT-J adds both branches before the one sum.
    assert half.reductions == (layers if name == "gptj_6b" else 2 * layers)
    assert whole.reductions == 0


def test_fewer_key_heads_than_devices_are_repeated() -> None:
    generator = generator_of(load_workload("llama3_8b"), 16)
    assert {(attending.heads, attending.kv_heads) for attending in generator.attention} == {(2, 1)}


def test_a_degree_that_does_not_divide_the_heads_is_refused() -> None:
    with pytest.raises(InputError, match=r"32 heads do not divide over 3 devices; degrees that do: 1, 2, 4, 8, 16, 32"):
        generator_of(load_workload("llama3_8b"), 3)


@pytest.mark.parametrize("name", ["resnet50", "bert_base", "t5_small"])
def test_a_network_that_does_not_generate_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match="use --task infer"):
        generator_of(load_workload(name))


def test_experts_that_no_token_chose_are_not_read() -> None:
    # One token of 8 in 256 reads 8 experts; of 64 tokens, 256 (1 - (1 - 1/32)^64) = 222.4 have any.
    group = ExpertGroup(256, 8, 2048, 4096, 7168, 256, (1.0, 1.0), 1)
    columns = expert_columns(group, np.array([1.0, 64.0]))
    read = columns.read[Role.WEIGHT, 0]
    assert read[0] == pytest.approx(8 * 7168 * 4096)
    assert read[1] / (7168 * 4096) == pytest.approx(256 * (1 - (31 / 32) ** 64))


def test_decoding_is_reading_one_token_behind_the_cache() -> None:
    attending = generator_of(load_workload("llama3_8b")).attention[0]
    one = np.array([3.0])
    decode = decode_columns(attending, one, np.array([513.0]))
    prefill = prefill_columns(attending, one, np.array([1.0]), np.array([512.0]))
    assert decode.flops[0] == pytest.approx(prefill.flops[0])
    assert decode.read.sum() == pytest.approx(prefill.read.sum())


def test_decoding_is_lowered_once_for_all_requests_and_contexts() -> None:
    # 32 heads of 128 over 8 shared ones: 2 x 256 + softmax's operations a score; queries in, a value a head out.
    attending = generator_of(load_workload("llama3_8b")).attention[0]
    lowered = decoding_columns(attending)
    assert lowered is decoding_columns(attending)
    assert lowered.flops[:, 0].tolist() == [0, 0, 0, 32 * (2 * 256 + SOFTMAX_FLOPS)]
    assert lowered.read[Role.ACTIVATION, :, 0].tolist() == [0, 32 * 128, 0, 8 * 256]
    assert lowered.gemm[:, :, 0].tolist() == [[0, 4, 0, 0], [0, 0, 1, 0], [256, 0, 0, 0]]
    requests, context = np.array([1.0, 3.0, 64.0]), np.array([7.0, 1000.0, 31.5])
    columns = decode_columns(attending, requests, context)
    assert columns.flops[0] == pytest.approx(at_batch(lowered.flops, requests[:, None], context[:, None])[:, 0])
    assert columns.read[Role.ACTIVATION, 0] == pytest.approx(requests * (32 * 128 + 8 * 256 * context))
    assert columns.gemm[:, 0] == pytest.approx(np.array([4 * requests, context, [256.0] * 3]))
    for count in (columns.flops, columns.read, columns.gemm):
        assert not count[..., 1, :].any(), "nothing follows the batch any more"


def test_a_window_bounds_what_a_query_sees() -> None:
    attending = generator_of(load_workload("gemma2_2b")).attention[0]
    # 8192 queries over a window of 4096: (4096 x 4097 / 2 + 4096 x 4096) / 8192 = 3072.25 keys on average.
    columns = prefill_columns(attending, np.array([1.0]), np.array([8192.0]), np.array([0.0]))
    assert columns.gemm[1, 0, 0] == pytest.approx(3072.25)
    assert decode_columns(attending, np.ones(1), np.array([1e5])).gemm[1, 0, 0] == 4096


def test_products_of_one_input_run_as_one() -> None:
    generator = generator_of(load_workload("llama3_8b"))
    apart = work_of(generator, get_format("fp16"), ways=1, merges=False, fuses=False, by_experts=False)
    joined = work("llama3_8b")
    # Queries, keys and values become one product of three, gate and up one of two: 3 fewer in each of 32 layers.
    assert apart.token.times.sum() > joined.token.times.sum() + 3 * 32
    flops = [(part.token.columns.flops[1] * part.token.times).sum() for part in (apart, joined)]
    assert flops[0] == pytest.approx(flops[1])
