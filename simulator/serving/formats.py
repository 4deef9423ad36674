"""Formats of weights and caches when a model serves: bytes of each tensor, exact, and the peak that products run at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from simulator.errors import UnknownNameError
from simulator.precision import FP4_BYTES, INDEX_BYTES, MASK_BYTES, Precision

ONE = 1.0
"""A weight's width: kernels of a served model read weights in bytes already."""

HALF = ("fp16_tensor", "bf16_tensor", "fp16", "bf16", "fp32")
INT8 = ("int8_tensor", "int8", *HALF)
FP8 = ("fp8_tensor", *HALF)
FP4 = ("fp4_tensor", *FP8)

_OPERAND_BYTES = {HALF: 2.0, INT8: 1.0, FP8: 1.0, FP4: FP4_BYTES, ("fp32",): 4.0}

BLOCK_BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "q8_0": 34 / 32,
    "q6_k": 210 / 256,
    "q5_k": 176 / 256,
    "q5_0": 22 / 32,
    "q4_k": 144 / 256,
    "q4_0": 18 / 32,
    "q3_k": 110 / 256,
    "q2_k": 84 / 256,
    "mxfp4": 17 / 32,
}
"""Bytes a weight of GGUF's blocks, scales included. Source: llama.cpp, ggml/src/ggml-common.h, sizes of block_q*."""


@dataclass(frozen=True)
class Format:
    """How a served model's numbers are stored.

    Attributes
    ----------
    weight_bytes : of each weight of most products. [byte]
    output_bytes, value_bytes, down_bytes : of the projection to the vocabulary, of the values' and the feed-forward
        network's last product, where the format gives some of them more. [byte]
    table_bytes : of the table of tokens. [byte]
    small_bytes : of biases and of the weights of normalisations. [byte]
    activation_bytes : of activations between kernels. [byte]
    peaks : names of the peaks that products may run at.
    unpacks : whether weights are widened before a product, as weight-only formats are.
    """

    name: str
    weight_bytes: float
    output_bytes: float
    value_bytes: float
    down_bytes: float
    table_bytes: float
    small_bytes: float
    activation_bytes: float
    peaks: tuple[str, ...]
    unpacks: bool = False
    cache_bytes: float = 2.0
    """Of each number of the cache, unless asked otherwise. [byte]"""
    expert_bytes: tuple[float, float] | None = None
    """Of experts' weights before and behind the activation, where they differ from other products'. [byte]"""

    @property
    def of_experts(self) -> tuple[float, float]:
        """Of experts' weights before and behind the activation. [byte]"""
        return self.expert_bytes or (self.weight_bytes, self.down_bytes)

    @property
    def precision(self) -> Precision:
        """For kernels whose weights are counted in bytes."""
        return _precision(self.name, self.activation_bytes, self.peaks, _OPERAND_BYTES[self.peaks])

    def cache_precision(self, cache_bytes: float) -> Precision:
        """For attention over a cache of numbers of that width."""
        return _precision(f"{self.name}, cache of {cache_bytes}", cache_bytes, HALF if cache_bytes > 1 else FP8, 2.0)


@lru_cache
def _precision(name: str, width: float, peaks: tuple[str, ...], operand_bytes: float) -> Precision:
    widths = (ONE, width, width, width, width, INDEX_BYTES, MASK_BYTES, 4)
    return Precision(name, "as served", widths, operand_bytes, peaks, ("fp32",), inference_only=True)


def _plain(name: str, weight: float, peaks: tuple[str, ...], table: float = 2.0, *, unpacks: bool = False) -> Format:
    """A format whose products all have one width, but for the table and the projection to the vocabulary."""
    width = 4.0 if name == "fp32" else 2.0
    return Format(name, weight, table, weight, weight, table, width, width, peaks, unpacks)


def _gguf(name: str, most: str, output: str, more: str, table: str) -> Format:
    """One of GGUF's mixtures: most products, the vocabulary, a half of the value and down products, the table."""
    usual = BLOCK_BYTES[most]
    value = usual + MORE_SHARE * (BLOCK_BYTES[more] - usual)
    return Format(
        name, usual, BLOCK_BYTES[output], value, value, BLOCK_BYTES[table], 4.0, 2.0, HALF, unpacks=most != "f16"
    )


MORE_SHARE = 0.5
"""Layers whose value and down products have more bits: the first and the last eighth and each third between. Source:
llama.cpp, src/llama-quant.cpp, use_more_bits."""

GROUP = 0.5 + 2.5 / 128
"""Four bits, and for each 128 a scale of two bytes and a zero of half a byte (AWQ, GPTQ)."""

MXFP4_EXPERTS = (BLOCK_BYTES["mxfp4"], BLOCK_BYTES["mxfp4"])
"""gpt-oss as published: experts in blocks of 32 with 4 bits, other products in half width, which llama.cpp's MXFP4 MoE
files have in Q8_0. Source: OpenAI, arXiv 2508.10925, section 2.1; llama.cpp, LLAMA_FTYPE_MOSTLY_MXFP4_MOE."""

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        _plain("fp32", 4.0, ("fp32",), 4.0),
        _plain("fp16", 2.0, HALF),
        _plain("bf16", 2.0, HALF),
        _plain("fp8", 1.0, FP8),
        _plain("fp8_block", 1.0 + 4.0 / 128**2, FP8),
        _plain("int8", 1.0, INT8),
        _plain("fp4", FP4_BYTES, FP4),
        _plain("w8a16", 1.0, HALF, unpacks=True),
        _plain("int4", GROUP, HALF, unpacks=True),
        _plain("mxfp4", 0.5 + 1 / 32, HALF, unpacks=True),
        replace(_plain("mxfp4_experts", 2.0, HALF), expert_bytes=MXFP4_EXPERTS),
        replace(_gguf("mxfp4_moe", "q8_0", "q8_0", "q8_0", "q8_0"), expert_bytes=MXFP4_EXPERTS),
        _gguf("f16", "f16", "f16", "f16", "f16"),
        _gguf("q8_0", "q8_0", "q8_0", "q8_0", "q8_0"),
        _gguf("q6_k", "q6_k", "q6_k", "q6_k", "q6_k"),
        _gguf("q5_k_m", "q5_k", "q6_k", "q6_k", "q5_k"),
        _gguf("q4_k_m", "q4_k", "q6_k", "q6_k", "q4_k"),
        _gguf("q4_0", "q4_0", "q6_k", "q4_0", "q4_0"),
        _gguf("q3_k_m", "q3_k", "q6_k", "q5_k", "q3_k"),
    )
}

ALIASES = {"bfloat16": "bf16", "float16": "fp16", "w4a16": "int4", "awq": "int4", "gptq": "int4", "nvfp4": "fp4"}


def get_format(name: str) -> Format:
    """A format by name, or an `UnknownNameError` with the nearest one."""
    key = name.lower().replace("-", "_")
    key = ALIASES.get(key, key)
    if key not in FORMATS:
        raise UnknownNameError("format of the weights", name, [*FORMATS, *ALIASES])
    return FORMATS[key]
