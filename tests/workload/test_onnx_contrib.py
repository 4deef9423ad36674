"""ONNX Runtime's own operators, com.microsoft, against counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")

from onnx import parser  # noqa: E402

from simulator.errors import UnsupportedError  # noqa: E402
from simulator.workload.importers import Request, load  # noqa: E402
from simulator.workload.workload import Layer, Workload  # noqa: E402


def own(workload: Workload) -> list[Layer]:
    """The file's layers, without the loss that is added behind them."""
    return [layer for layer in workload.layers if layer.name != "loss"]


def kinds(workload: Workload) -> list[str]:
    return [layer.op.kind for layer in own(workload)]


def contrib(tmp_path: Path, inputs: str, weights: dict[str, tuple[int, ...]], body: str, **request: Any) -> Workload:
    """A network of nodes of com.microsoft, its stored tensors without values."""
    opsets = '["" : 17, "com.microsoft" : 1]'
    model = parser.parse_model(f"<ir_version: 8, opset_import: {opsets}> net ({inputs}) => (float[N] y) {{ {body} }}")
    for name, dims in weights.items():
        model.graph.initializer.append(onnx.TensorProto(name=name, dims=dims, data_type=onnx.TensorProto.FLOAT))
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load("onnx", str(path), Request(**request))


SIXTEEN = "float[N,10,16] x"


def test_attention_with_its_products(tmp_path: Path) -> None:
    """Ten positions of 16: 16 x 48 weights, then scores and values, 10 * 10 * 16 each."""
    body = "y, present = com.microsoft.Attention <num_heads = 4> (x, w, b)"
    ours = contrib(tmp_path, SIXTEEN, {"w": (16, 48), "b": (48,)}, body)
    assert (ours.macs, ours.parameters) == (10 * 16 * 48 + 2 * 100 * 16, 16 * 48 + 48)
    assert own(ours)[-1].output == (10, 16)
    assert kinds(ours) == ["linear", "fused_attention"]
    assert kinds(contrib(tmp_path, SIXTEEN, {"w": (16, 48), "b": (48,)}, body, attention="eager"))[-1] == "attention"


def test_grouped_attention_reads_a_cache(tmp_path: Path) -> None:
    """One position of 4 heads of 8 over 20 + 1 keys of 2 heads: 2 * 4 * 21 * 8."""
    new, past = "float[N,1,32] q, float[N,1,16] k, float[N,1,16] v", "float[N,2,20,8] pk, float[N,2,20,8] pv"
    heads = "num_heads = 4, kv_num_heads = 2, do_rotary = 1"
    body = f"y, a, c = com.microsoft.GroupQueryAttention <{heads}> (q, k, v, pk, pv, s, t)"
    inputs = f"{new}, {past}, int32[N,1] s, int32 t"
    ours = contrib(tmp_path, inputs, {}, body)
    assert ours.macs == 2 * 4 * 21 * 8
    assert kinds(ours) == ["rotary", "rotary", "concat", "concat", "fused_attention"]


def test_attention_of_packed_queries(tmp_path: Path) -> None:
    """(4 + 2 + 2) heads of 8 side by side."""
    body = "y, a, c = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2> (q)"
    ours = contrib(tmp_path, "float[N,10,64] q", {}, body)
    assert (ours.macs, own(ours)[-1].output) == (2 * 4 * 100 * 8, (10, 32))


def test_a_norm_with_what_it_skips(tmp_path: Path) -> None:
    inputs, body = f"{SIXTEEN}, float[N,10,16] z", "y = com.microsoft.SkipLayerNormalization(x, z, g, b, c)"
    ours = contrib(tmp_path, inputs, {"g": (16,), "b": (16,), "c": (16,)}, body)
    assert (kinds(ours), ours.parameters) == (["add", "channel_affine", "layer_norm"], 48)
    simple = contrib(tmp_path, inputs, {"g": (16,)}, "y = com.microsoft.SkipSimplifiedLayerNormalization(x, z, g)")
    assert (kinds(simple), simple.parameters) == (["add", "rms_norm"], 16)


def test_an_embedding_with_its_norm(tmp_path: Path) -> None:
    tables = {"word": (100, 16), "place": (32, 16), "part": (2, 16), "g": (16,), "b": (16,)}
    body = "y, m = com.microsoft.EmbedLayerNormalization(i, s, word, place, part, g, b)"
    ours = contrib(tmp_path, "int32[N,10] i, int32[N,10] s", tables, body)
    assert kinds(ours) == ["embedding", "embedding", "embedding", "add", "layer_norm"]
    assert ours.parameters == 134 * 16 + 32
    assert own(ours)[-1].output == (10, 16)


def test_weights_of_four_bits_count_as_weights(tmp_path: Path) -> None:
    """64 x 24, packed as (24, 2 blocks, 16 bytes)."""
    body = "y = com.microsoft.MatMulNBits <K = 64, N = 24, bits = 4, block_size = 32> (x, w, s)"
    ours = contrib(tmp_path, "float[N,10,64] x", {"w": (24, 2, 16), "s": (48,)}, body)
    assert (ours.macs, ours.parameters) == (10 * 64 * 24, 64 * 24)


@pytest.mark.parametrize(
    ("inputs", "weights", "body", "expected"),
    [
        (
            "float[N,4,10,6] x, float[N,4,10,6] z",
            {},
            "y = com.microsoft.FusedMatMul <transB = 1> (x, z)",
            (["matmul"], 0),
        ),
        (SIXTEEN, {"b": (16,)}, "y = com.microsoft.BiasSplitGelu(x, b)", (["channel_affine", "gated_gelu"], 16)),
        (
            f"{SIXTEEN}, float[N,10,16] z",
            {"b": (16,)},
            "y = com.microsoft.BiasAdd(x, b, z)",
            (["add", "channel_affine"], 16),
        ),
        (
            "float[N,16] x",
            {"w": (16, 4), "b": (4,)},
            'y = com.microsoft.FusedGemm <activation = "Relu"> (x, w, b)',
            (["linear", "relu"], 68),
        ),
        (
            "float[N,8,8,16] x",
            {"g": (16,), "b": (16,)},
            "y, s = com.microsoft.GroupNorm <groups = 4, activation = 1> (x, g, b)",
            (["group_norm", "silu"], 32),
        ),
    ],
)
def test_operators_that_join_others(
    tmp_path: Path, inputs: str, weights: dict[str, tuple[int, ...]], body: str, expected: tuple[list[str], int]
) -> None:
    ours = contrib(tmp_path, inputs, weights, body)
    assert (kinds(ours), ours.parameters) == expected


def test_a_generation_inside_a_node_has_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="simulate serve"):
        contrib(tmp_path, "int32[N,10] i", {}, "y = com.microsoft.BeamSearch(i)")
