"""ONNX graphs with loops, branches, sequences and choices, written in ONNX's own text, against counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")

from onnx import parser  # noqa: E402

from simulator.errors import InputError, UnsupportedError  # noqa: E402
from simulator.workload.importers import Request, load  # noqa: E402
from simulator.workload.workload import Layer, Workload  # noqa: E402

EIGHTS = "float[8,8] w = {" + ",".join(["1"] * 64) + "}"


def net(tmp_path: Path, text: str, opset: int = 17, **request: Any) -> Workload:
    """The network of ONNX's text, where `absent` is an input left out: onnx 1.16 reads no empty name."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> net {text}')
    for node in model.graph.node:
        node.input[:] = ["" if name == "absent" else name for name in node.input]
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load("onnx", str(path), Request(**request))


def own(workload: Workload) -> list[Layer]:
    """The file's layers, without the loss that is added behind them."""
    return [layer for layer in workload.layers if layer.name != "loss"]


def kinds(workload: Workload) -> list[str]:
    return [layer.op.kind for layer in own(workload)]


# ---- loops

BODY = """<body = body (int64 i, bool go, float[N,8] h) => (bool on, float[N,8] next) {
    on = Identity(go)
    next = MatMul(h, w)
}>"""


def test_a_loop_of_known_trips_runs_its_body_so_often(tmp_path: Path) -> None:
    stored = f"int64 five = {{5}}, bool yes = {{1}}, {EIGHTS}"
    text = f"(float[N,8] x) => (float[N,8] y) <{stored}> {{ y = Loop (five, yes, x) {BODY} }}"
    ours = net(tmp_path, text)
    assert kinds(ours) == ["linear", *["tied_linear"] * 4]
    assert (ours.macs, ours.parameters) == (5 * 64, 64)
    assert "decides" not in ours.description


def test_a_loop_that_a_run_ends_needs_trips(tmp_path: Path) -> None:
    text = f"(float[N,8] x, int64 m) => (float[N,8] y) <bool yes = {{1}}, {EIGHTS}> {{ y = Loop (m, yes, x) {BODY} }}"
    with pytest.raises(UnsupportedError, match="--trips gives it"):
        net(tmp_path, text)
    ours = net(tmp_path, text, trips=3)
    assert ours.macs == 3 * 64
    assert "counted as 3 trips, which a run decides" in ours.description


def test_a_condition_of_known_numbers_ends_a_loop(tmp_path: Path) -> None:
    """0 < 3, 1 < 3, 2 < 3 and not 3 < 3: four trips, the largest integer being no count."""
    numbers = "int64 most = {9223372036854775807}, int64 three = {3}, bool yes = {1}"
    text = f"""(float[N,8] x) => (float[N,8] y) <{numbers}, {EIGHTS}> {{
        y = Loop (most, yes, x) <body = body (int64 i, bool go, float[N,8] h) => (bool on, float[N,8] next) {{
            on = Less(i, three)
            next = MatMul(h, w)
        }}>
    }}"""
    assert net(tmp_path, text).macs == 4 * 64


def test_a_count_bounds_a_loop_that_values_may_end_sooner(tmp_path: Path) -> None:
    text = f"""(float[N,8] x) => (float[N,8] y) <int64 six = {{6}}, bool yes = {{1}}, float zero = {{0}}, {EIGHTS}> {{
        y = Loop (six, yes, x) <body = body (int64 i, bool go, float[N,8] h) => (bool on, float[N,8] next) {{
            next = MatMul(h, w)
            sum = ReduceSum <keepdims = 0> (next)
            on = Less(zero, sum)
        }}>
    }}"""
    ours = net(tmp_path, text)
    assert ours.macs == 6 * 64
    assert "counted as 6 trips" in ours.description
    assert net(tmp_path, text, trips=2).macs == 2 * 64


def test_what_each_trip_gives_is_stacked(tmp_path: Path) -> None:
    text = """(float[N,8] x) => (float[4,N,8] all) <int64 four = {4}, bool yes = {1}> {
        last, all = Loop (four, yes, x) <body = body (int64 i, bool go, float[N,8] h)
        => (bool on, float[N,8] next, float[N,8] out) {
            on = Identity(go)
            next = Tanh(h)
            out = Relu(next)
        }>
    }"""
    ours = net(tmp_path, text)
    assert kinds(ours) == [*["tanh", "relu"] * 4, "concat"]
    assert ours.layers[8].output == (4, 8)


def test_a_loop_without_end_is_refused(tmp_path: Path) -> None:
    text = """(float[N,8] x) => (float[N,8] y) <bool yes = {1}> {
        y = Loop (absent, yes, x) <body = body (int64 i, bool go, float[N,8] h) => (bool on, float[N,8] next) {
            on = Identity(go)
            next = Tanh(h)
        }>
    }"""
    with pytest.raises(UnsupportedError, match="--trips"):
        net(tmp_path, text)


def test_a_loop_of_too_many_trips_is_refused_before_it_starts(tmp_path: Path) -> None:
    stored = f"int64 many = {{1000000}}, bool yes = {{1}}, {EIGHTS}"
    text = f"(float[N,8] x) => (float[N,8] y) <{stored}> {{ y = Loop (many, yes, x) {BODY} }}"
    with pytest.raises(InputError, match="1000000 trips of 2 nodes"):
        net(tmp_path, text)


SCAN = f"""(float[N,6,8] x) => (float[N,6,8] all) <{EIGHTS}> {{
    first = ReduceMean <axes = [1], keepdims = 0> (x)
    last, all = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
        body = body (float[N,8] h, float[N,8] now) => (float[N,8] next, float[N,8] out) {{
            turned = MatMul(h, w)
            next = Add(turned, now)
            out = Identity(next)
        }}> (first, x)
}}"""


def test_a_scan_walks_along_one_side(tmp_path: Path) -> None:
    ours = net(tmp_path, SCAN)
    assert (ours.macs, ours.parameters) == (6 * 64, 64)
    assert own(ours)[-1].output == (6, 8)


def test_a_scan_along_the_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="along the batch"):
        net(tmp_path, SCAN.replace("scan_input_axes = [1]", "scan_input_axes = [0]"))


def test_a_sequence_is_mapped_tensor_by_tensor(tmp_path: Path) -> None:
    text = f"""(float[N,6,8] x) => (float[N,6,8] y) <{EIGHTS}> {{
        parts = SplitToSequence <axis = 1> (x)
        done = SequenceMap (parts) <body = body (float[N,1,8] part) => (float[N,1,8] out) {{ out = MatMul(part, w) }}>
        y = ConcatFromSequence <axis = 1> (done)
    }}"""
    ours = net(tmp_path, text)
    assert (ours.macs, ours.parameters, own(ours)[-1].output) == (6 * 64, 64, (6, 8))


# ---- branches

BRANCH = f"""(float[N,8] x) => (float[N,8] y) <float zero = {{0}}, {EIGHTS}> {{
    sum = ReduceSum <keepdims = 0> (x)
    more = Greater(sum, zero)
    y = If (more) <
        then_branch = cheap () => (float[N,8] a) {{ a = Relu(x) }},
        else_branch = dear () => (float[N,8] b) {{ b = MatMul(x, w) }}
    >
}}"""


def test_a_branch_that_a_run_decides_is_the_costlier(tmp_path: Path) -> None:
    for text in (
        BRANCH,
        BRANCH.replace("then_branch", "other").replace("else_branch", "then_branch").replace("other", "else_branch"),
    ):
        ours = net(tmp_path, text)
        assert kinds(ours) == ["reduce", "unary", "linear"]
        assert (ours.macs, ours.parameters) == (64, 64)
        assert "the costlier" in ours.description


def test_a_tensor_that_a_branch_reads_is_no_inner_value(tmp_path: Path) -> None:
    """The product's sum cannot be merged into it where a graph inside a node reads the product too."""
    text = f"""(float[N,8] x) => (float[N,8] y) <bool yes = {{1}}, float[8] b = {{1,1,1,1,1,1,1,1}}, {EIGHTS}> {{
        h = MatMul(x, w)
        s = Add(h, b)
        r = If (yes) <
            then_branch = t () => (float[N,8] a) {{ a = Relu(h) }},
            else_branch = e () => (float[N,8] c) {{ c = Tanh(h) }}
        >
        y = Add(r, s)
    }}"""
    ours = net(tmp_path, text)
    assert kinds(ours) == ["linear", "channel_affine", "relu", "add"]
    assert ours.layers[2].sources == (0,)


# ---- lists


def test_lists_cost_nothing(tmp_path: Path) -> None:
    text = """(float[N,8] x, float[N,8] z) => (float[N,8] y) <int64 one = {1}> {
        seq = SequenceConstruct(x, z)
        more = SequenceInsert(seq, x)
        less = SequenceErase(more, one)
        count = SequenceLength(less)
        which = Sub(count, one)
        same = SequenceAt(less, which)
        y = Relu(same)
    }"""
    ours = net(tmp_path, text)
    assert kinds(ours) == ["relu"]
    assert ours.layers[0].sources == (-1,)


def test_a_list_of_stacked_tensors(tmp_path: Path) -> None:
    text = """(float[N,8] x, float[N,8] z) => (float[N,2,8] y) {
        s = SequenceConstruct(x, z)
        y = ConcatFromSequence <axis = 1, new_axis = 1> (s)
    }"""
    assert net(tmp_path, text).layers[0].output == (2, 8)


def test_parts_of_unknown_sides_have_a_number_but_no_sides(tmp_path: Path) -> None:
    start = "(float[N,8] x, int64[3] sizes) => (float[N] y) { s = SplitToSequence <axis = 1> (x, sizes) "
    ours = net(tmp_path, start + "n = SequenceLength(s) y = Relu(x) }")
    assert kinds(ours) == ["relu"]
    with pytest.raises(InputError, match="sides of the parts"):
        net(tmp_path, start + "i = SequenceLength(s) z = Sub(i, i) y = SequenceAt(s, z) }")


def test_more_parts_than_tensors_can_be_are_refused(tmp_path: Path) -> None:
    text = "(float[N,8] x, int64[2147483648] sizes) => (int64 n) { s = SplitToSequence <axis = 1> (x, sizes) "
    with pytest.raises(UnsupportedError, match="SplitToSequence into 2147483648 parts"):
        net(tmp_path, text + "n = SequenceLength(s) }")


def test_an_operator_that_takes_no_list_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Relu of a sequence"):
        net(tmp_path, "(float[N,8] x) => (float[N,8] y) { s = SequenceConstruct(x) y = Relu(s) }")


# ---- choices


def test_the_boxes_that_stay_are_at_most_what_the_file_says(tmp_path: Path) -> None:
    """Each kept box against those after it: 10 of 100, 99 + 98 + ... + 90 = 945 pairs, for each of 3 classes."""
    text = """(float[N,100,4] boxes, float[N,3,100] scores) => (int64[m,3] y) <int64 ten = {10}, float half = {0.5}> {
        y = NonMaxSuppression(boxes, scores, ten, half)
    }"""
    ours = net(tmp_path, text)
    assert (ours.layers[0].output, ours.counts[0].flops) == ((30, 3), 12 * 3 * 945)
    assert "10 boxes of each class, its most" in ours.description
    assert net(tmp_path, text, boxes=5).layers[0].output == (15, 3)


def test_what_is_chosen_by_value_is_all_or_what_is_asked(tmp_path: Path) -> None:
    text = "(float[N,8] x) => (float[N,8] y) { p = NonZero(x) t = Transpose(p) y = GatherND(x, t) }"
    ours = net(tmp_path, text)
    assert ours.layers[0].output == (2, 8)
    assert "counted as all entries" in ours.description
    assert net(tmp_path, text, boxes=3).layers[0].output == (2, 3)


# ---- no work, unused inputs, shapes of a run


def test_views_have_no_work(tmp_path: Path) -> None:
    ours = net(tmp_path, "(float[N,2,4] x) => (float[N,8] y) { y = Flatten(x) }")
    assert (kinds(ours), ours.macs, ours.counts[0].flops, ours.parameters) == (["reshape"], 0, 0, 0)


def test_an_input_that_no_layer_reads_is_named(tmp_path: Path) -> None:
    ours = net(tmp_path, "(float[N,8] x, float[N,4] spare) => (float[N,8] y) { y = Relu(x) }")
    assert ours.inputs == ((8,), (4,))
    assert "no layer reads the input spare" in ours.description


def test_a_shape_that_a_run_computes_is_the_declared_one(tmp_path: Path) -> None:
    ours = net(tmp_path, "(float[N,1,8] x, int64[3] sides) => (float[N,5,8] y) { y = Expand(x, sides) }")
    assert (kinds(ours), ours.layers[0].output) == (["move"], (5, 8))
    with pytest.raises(InputError, match="does not state the output's sides"):
        net(tmp_path, "(float[N,1,8] x, int64[3] sides) => (float[N,k,8] y) { y = Expand(x, sides) }")


# ---- operators by hand

OPERATORS: dict[str, tuple[str, tuple[int, ...], int]] = {
    # name: graph, output of the last layer, FLOPs of one sample
    "grid of pixels": (  # 8 channels of 4 x 4 points, 4 neighbours of a product and a sum each
        "(float[N,8,16,16] x, float[N,4,4,2] g) => (float[N,8,4,4] y) { y = GridSample(x, g) }",
        (8, 4, 4),
        128 * 8,
    ),
    "regions": (  # 5 regions of 8 channels of 7 x 7 cells of 4 points of 4 neighbours, 8 FLOP a point
        "(float[N,8,16,16] x, float[k,4] r, int64[k] i) => (float[k,8,7,7] y) "
        "{ y = RoiAlign <output_height = 7, output_width = 7, sampling_ratio = 2> (x, r, i) }",
        (8, 7, 7),
        8 * 49 * 4 * 8,
    ),
    "real transform": (  # 5 / 2 * 64 * 6 = 960
        "(float[N,64,1] x) => (float[N,33,2] y) { y = DFT <axis = 1, onesided = 1> (x) }",
        (33, 2),
        960,
    ),
    "spectrogram": (  # (256 - 64) / 32 + 1 = 7 frames, a product with the window and a real transform each
        "(float[N,256] x) => (float[N,7,33,2] y) <int64 step = {32}, float[64] h = {"
        + ",".join(["1"] * 64)
        + "}> { y = STFT(x, step, h) }",
        (7, 33, 2),
        7 * (64 + 960),
    ),
    "noise": ("(float[N,8] x) => (float[N,8] y) { n = RandomNormalLike(x) y = Add(x, n) }", (8,), 8),
    "draws": (  # an exponential and a sum a class, three halvings of 8 a draw
        "(float[N,8] x) => (int32[N,2] y) { y = Multinomial <sample_size = 2> (x) }",
        (2,),
        16 + 2 * 3,
    ),
    "determinant": ("(float[N,6,6] x) => (float[N] y) { y = Det(x) }", (1,), 2 * 216 // 3),
    "trace of products": (  # 4 x 5 products summed over 6, then the rest summed: 4 * 5
        "(float[N,4,6] x, float[N,6,5] z) => (float[N] y) <float[1] o = {1}> "
        '{ p = Einsum <equation = "bij,bjk->bik"> (x, z) y = Einsum <equation = "bik->b"> (p) }',
        (1,),
        2 * 4 * 5 * 6 + 20,
    ),
    "three operands": (  # (4 x 6)(6 x 5) then (4 x 5)(5 x 3), 2 FLOP a MAC
        "(float[N,4,6] x, float[N,6,5] z, float[N,5,3] v) => (float[N,4,3] y) "
        '{ y = Einsum <equation = "...ij,...jk,...kl"> (x, z, v) }',
        (1, 4, 3),
        2 * (4 * 6 * 5 + 4 * 5 * 3),
    ),
    "loss": (  # softmax 5 a logit
        "(float[N,10] x, int64[N] t) => (float y) { y = SoftmaxCrossEntropyLoss(x, t) }",
        (1,),
        50,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator(tmp_path: Path, name: str) -> None:
    text, output, flops = OPERATORS[name]
    ours = net(tmp_path, text)
    counted = sum(layer.op.counts(layer.site()).flops for layer in own(ours))
    assert (own(ours)[-1].output, counted) == (output, flops)


def test_offsets_bend_a_convolution(tmp_path: Path) -> None:
    """Taps: 4 channels * 9 * 6 * 6 of 8 FLOP; then 8 outputs of 36 weights at 36 places."""
    weight = "float[8,4,3,3] w = {" + ",".join(["1"] * 288) + "}"
    text = f"(float[N,4,8,8] x, float[N,18,6,6] o) => (float[N,8,6,6] y) <{weight}> {{ y = DeformConv(x, w, o) }}"
    ours = net(tmp_path, text, opset=19)
    assert [count.flops for count in ours.counts] == [4 * 9 * 36 * 8, 2 * 8 * 36 * 36]
    assert (ours.parameters, ours.macs, own(ours)[-1].output) == (288, 8 * 36 * 36, (8, 6, 6))


def test_attention_reads_the_keys_before_its_own(tmp_path: Path) -> None:
    """One query of 2 heads of 8 over 5 + 1 keys: 2 * 6 * 8 MACs for the scores and as many for the values."""
    text = """(float[N,2,1,8] q, float[N,2,1,8] k, float[N,2,1,8] v, float[N,2,5,8] pk, float[N,2,5,8] pv) =>
        (float[N,2,1,8] y, float[N,2,6,8] ak, float[N,2,6,8] av) { y, ak, av = Attention(q, k, v, absent, pk, pv) }"""
    ours = net(tmp_path, text, opset=23)
    assert kinds(ours)[:2] == ["concat", "concat"]
    assert ours.macs == 2 * 2 * 6 * 8
    assert ours.layers[0].output == (2, 6, 8)


def test_tensors_of_too_few_sides_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"STFT of tensors of \[65521, 64\], \[\], \[\] that do not fit it"):
        net(tmp_path, "(float[N,64] x) => (float[N] y) <int64 step = {4}, float h = {1}> { y = STFT(x, step, h) }")


def test_text_and_training_steps_have_reasons(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="text has no arithmetic"):
        net(tmp_path, "(string[N,8] x) => (string[N,8] y) { y = StringNormalizer(x) }")
