"""Cost rules of normalisations, softmax, losses, pooling, dropout and look-ups; FLOPs as in `simulator.op`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from simulator.op.kernel import OpClass, Phase, Window
from simulator.op.layer_norm import ROW_LIMIT, GroupNorm, LayerNorm, RmsNorm, RowNorm
from simulator.workload.importers.torch.calls import Call, Kind, Tensor
from simulator.workload.importers.torch.rules import Draft, When, moved, one_pass, rule, size


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
      "miopen_batch_norm", "_batch_norm_with_update")  # fmt: skip
def _batch_norm(call: Call) -> list[Draft]:
    """Training: statistics of the whole batch, then the normalisation: two passes; so too wherever none were kept."""
    source, output = call.args[0], call.outputs[0]
    flags = [argument for argument in call.args[3:] if isinstance(argument, bool)]
    batch_statistics = flags[0] if flags else call.name == "_batch_norm_with_update"
    scale = Draft(OpClass.NORMALIZATION, 2 * source.distinct, moved(source), moved(output))
    if not batch_statistics:
        return [scale]
    when = When.TRAINING if keeps_statistics(call) else When.ALWAYS
    statistics = Draft(OpClass.NORMALIZATION, 3 * source.distinct, moved(source), (), when=when)
    return [statistics, scale]


def keeps_statistics(call: Call) -> bool:
    """Whether it is a batch normalisation that has running statistics, hence a scale and shift at inference."""
    return "batch_norm" in call.name and isinstance(call.get(3), Tensor)


@rule("native_batch_norm_backward", "cudnn_batch_norm_backward", "miopen_batch_norm_backward", "batch_norm_backward")
def _batch_norm_backward(call: Call) -> list[Draft]:
    """Two sums over the batch, then the input gradient; with fixed statistics that needs the gradient alone."""
    pair = moved(*[tensor for tensor in call.tensors() if tensor.shape == call.outputs[0].shape][:2])
    elements = call.tensors().__next__().distinct
    flags = [argument for argument in call.args[5:] if isinstance(argument, bool)]
    batch_statistics, mask = not flags or flags[0], call.args[-1]
    wanted = mask if isinstance(mask, list) else [True, True, True]
    sums = Draft(OpClass.NORMALIZATION, 5 * elements, pair, (), phase=Phase.WEIGHT_GRADIENT)
    if not wanted[0]:
        return [sums]
    reads, flops = (pair, 4) if batch_statistics else (pair[:1], 1)
    inputs = Draft(OpClass.NORMALIZATION, flops * elements, reads, moved(call.outputs[0]))
    return [sums, inputs] if batch_statistics or wanted[1] else [inputs]


def _row_norm(call: Call, row: int, op: type[RowNorm], weights: Sequence[Tensor | None]) -> list[Draft]:
    """One pass, the row being on chip if it is not longer than `ROW_LIMIT`; training also writes its statistics."""
    source = call.args[0]
    passes = 1 if row <= ROW_LIMIT else 2
    given = [weight for weight in weights if weight is not None]
    flops = (op.forward_flops + len(given)) * source.distinct
    reads = (*moved(source) * passes, *moved(*given))
    training = Draft(OpClass.NORMALIZATION, flops, reads, moved(*call.outputs), when=When.TRAINING)
    return [training, replace(training, write=moved(call.outputs[0]), when=When.INFERENCE)]


@rule("native_layer_norm")
def _layer_norm(call: Call) -> list[Draft]:
    return _row_norm(call, prod(call.args[1]), LayerNorm, call.args[2:4])


@rule("_fused_rms_norm")
def _rms_norm(call: Call) -> list[Draft]:
    return _row_norm(call, prod(call.args[1]), RmsNorm, call.args[2:3])


@rule("native_group_norm")
def _group_norm(call: Call) -> list[Draft]:
    batch, groups = int(call.args[3]), int(call.args[6])
    return _row_norm(call, call.args[0].distinct // (batch * groups), GroupNorm, call.args[1:3])


def _row_norm_backward(call: Call, row: int, op: type[RowNorm], weight: Tensor | None) -> list[Draft]:
    """One pass for the input gradient, one for the sums over all rows."""
    gradient, source = call.args[0], call.args[1]
    rows = [tensor for tensor in call.tensors() if tensor is not weight][2:]
    statistics = [tensor for tensor in rows if tensor.kind is Kind.ACTIVATION]
    passes = 1 if row <= ROW_LIMIT else 2
    wanted, outputs = call.args[-1], list(call.outputs)
    result = []
    if wanted[0]:
        flops = (op.backward_flops + (weight is not None)) * source.distinct
        reads = (*moved(source, gradient) * passes, *moved(*statistics), *moved(weight))
        result.append(Draft(OpClass.NORMALIZATION, flops, reads, moved(outputs.pop(0))))
    if any(wanted[1:]):
        reads = (*moved(source, gradient), *moved(*statistics))
        result.append(Draft(OpClass.NORMALIZATION, op.gradient_flops * source.distinct, reads, moved(*outputs)))
    return result


@rule("native_layer_norm_backward")
def _layer_norm_backward(call: Call) -> list[Draft]:
    bias = call.args[6]
    kept = [argument for argument in call.args if argument is not bias or bias is None]
    trimmed = replace(call, args=kept)
    return _row_norm_backward(trimmed, prod(call.args[2]), LayerNorm, call.args[5])


@rule("_fused_rms_norm_backward")
def _rms_norm_backward(call: Call) -> list[Draft]:
    return _row_norm_backward(call, prod(call.args[2]), RmsNorm, call.args[4])


@rule("native_group_norm_backward")
def _group_norm_backward(call: Call) -> list[Draft]:
    row = call.args[1].distinct // (int(call.args[5]) * int(call.args[8]))
    return _row_norm_backward(call, row, GroupNorm, call.args[4])


@rule("_softmax", "_log_softmax", "_safe_softmax", "_masked_softmax")
def _softmax(call: Call) -> list[Draft]:
    """Maximum, difference, exponential, sum, quotient."""
    return [_over_rows(call, 5, call.args[0], call.args[1])]


@rule("_softmax_backward_data", "_log_softmax_backward_data")
def _softmax_backward(call: Call) -> list[Draft]:
    return [_over_rows(call, 4, call.args[1], call.args[2])]


def _over_rows(call: Call, flops: int, source: Tensor, side: object) -> Draft:
    """One pass over rows along a side, the last one where no number names it, so many FLOPs a value."""
    row = source.shape[side if isinstance(side, int) else -1] if source.shape else 1
    return replace(one_pass(call, OpClass.SOFTMAX, flops * size(call)), window=Window((1, row)))


@rule("nll_loss_forward", "nll_loss2d_forward")
def _nll_loss(call: Call) -> list[Draft]:
    """The label's value of each row, and their mean."""
    labels = call.args[1].distinct
    reads = ((call.args[0].kind, labels), *moved(call.args[1]))
    return [Draft(OpClass.REDUCTION, labels, reads, moved(*call.outputs))]


@rule("nll_loss_backward", "nll_loss2d_backward")
def _nll_loss_backward(call: Call) -> list[Draft]:
    """The gradient is cleared, then each label's place is filled."""
    labels, gradient = call.args[2], call.outputs[0]
    fill = Draft(OpClass.COPY, 0, (), moved(gradient))
    return [fill, Draft(OpClass.LOOKUP, labels.distinct, moved(labels), ((gradient.kind, labels.distinct),))]


@rule("native_dropout", "rrelu_with_noise", "_fused_dropout")
def _dropout(call: Call) -> list[Draft]:
    """Draw, compare and scale; a flag for each element is kept. Nothing at inference."""
    return [one_pass(call, OpClass.ELEMENTWISE, 2 * size(call), When.TRAINING)]


def _pool_window(call: Call, first: int = 1) -> Window:
    kernel = [int(side) for side in call.args[first]][-2:]
    stride = [int(side) for side in call.get(first + 1, "stride", None) or kernel][-2:]
    sides = [(1, *side) if len(side) == 1 else tuple(side) for side in (kernel, stride)]
    return Window((sides[0][0], sides[0][1]), (sides[1][0], sides[1][1]))


@rule("max_pool2d_with_indices", "max_pool3d_with_indices")
def _max_pool(call: Call) -> list[Draft]:
    """Kernel area comparisons an output; training also writes the position of each maximum."""
    flops, window = prod(call.args[1]) * size(call), _pool_window(call)
    training = Draft(
        OpClass.POOLING, flops, moved(call.args[0]), moved(*call.outputs), window=window, when=When.TRAINING
    )
    return [training, replace(training, write=moved(call.outputs[0]), when=When.INFERENCE)]


@rule("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward",
      "adaptive_max_pool3d_backward")  # fmt: skip
def _max_pool_backward(call: Call) -> list[Draft]:
    """Each gradient is added at its maximum's position."""
    gradient, indices = call.args[0], call.args[-1] if isinstance(call.args[-1], Tensor) else call.kwargs["indices"]
    return [Draft(OpClass.POOLING, gradient.distinct, moved(gradient, indices), moved(*call.outputs))]


@rule("avg_pool2d", "avg_pool3d", "max_pool2d", "max_pool3d")
def _avg_pool(call: Call) -> list[Draft]:
    """Kernel area operations an output."""
    flops = prod(call.args[1]) * size(call)
    return [Draft(OpClass.POOLING, flops, moved(call.args[0]), moved(*call.outputs), window=_pool_window(call))]


@rule("avg_pool2d_backward", "avg_pool3d_backward")
def _avg_pool_backward(call: Call) -> list[Draft]:
    gradient = call.args[0]
    return [Draft(OpClass.POOLING, prod(call.args[2]) * gradient.distinct, moved(gradient), moved(*call.outputs))]


@rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d",
      "adaptive_avg_pool1d")  # fmt: skip
def _adaptive_pool(call: Call) -> list[Draft]:
    """One operation an input."""
    return [one_pass(call, OpClass.POOLING, call.args[0].distinct)]


@rule("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward")
def _adaptive_pool_backward(call: Call) -> list[Draft]:
    return [Draft(OpClass.POOLING, size(call), moved(call.args[0]), moved(*call.outputs))]


@rule("embedding")
def _embedding(call: Call) -> list[Draft]:
    """One row of the table a token."""
    table, tokens = call.args[0], call.args[1]
    reads = (*moved(tokens), (table.kind, size(call)))
    return [Draft(OpClass.LOOKUP, 0, reads, moved(*call.outputs))]


@rule("embedding_dense_backward")
def _embedding_backward(call: Call) -> list[Draft]:
    """The table's gradient is cleared, then each token's gradient is added to its row."""
    gradient, tokens, table = call.args[0], call.args[1], call.outputs[0]
    clear = Draft(OpClass.COPY, 0, (), moved(table))
    reads = (*moved(tokens, gradient), (Kind.WEIGHT_GRADIENT, gradient.distinct))
    writes = ((Kind.WEIGHT_GRADIENT, gradient.distinct),)
    return [clear, Draft(OpClass.LOOKUP, gradient.distinct, reads, writes, phase=Phase.WEIGHT_GRADIENT)]
