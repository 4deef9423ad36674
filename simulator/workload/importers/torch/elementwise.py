"""Cost rules of element-wise calls, reductions, copies and fills: every operand and the result once."""

from __future__ import annotations

from simulator.op import operations
from simulator.op.kernel import OpClass
from simulator.workload.importers.torch.calls import Call, Kind
from simulator.workload.importers.torch.rules import Draft, moved, one_pass, rule, size, total

ELEMENTWISE = [
    "add", "sub", "rsub", "mul", "div", "true_divide", "floor_divide", "remainder", "fmod", "neg", "abs", "sign",
    "sgn", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "pow",
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc",
    "erfinv", "sigmoid", "tanh", "relu", "relu6", "hardtanh", "leaky_relu", "elu", "celu", "selu", "gelu", "silu",
    "mish", "softplus", "hardsigmoid", "hardswish", "threshold", "logit", "lerp", "ceil", "floor", "round", "trunc",
    "frac", "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "fmax", "fmin", "where", "masked_fill",
    "addcmul", "addcdiv", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not",
    "logical_xor", "bitwise_and", "bitwise_or", "bitwise_not", "bitwise_xor", "bitwise_left_shift",
    "bitwise_right_shift", "__and__", "__or__", "__xor__", "isnan", "isinf", "isfinite", "nan_to_num", "hypot",
    "logaddexp", "logaddexp2", "xlogy", "special_xlog1py", "copysign", "heaviside", "polar", "angle", "real",
    "imag", "conj_physical", "complex", "log_sigmoid_forward", "softshrink", "hardshrink", "tanhshrink",
    "special_entr", "special_erfcx", "sinc", "lgamma", "digamma", "i0", "signbit", "deg2rad", "rad2deg", "positive",
    "_conj", "threshold_backward", "sigmoid_backward", "tanh_backward", "gelu_backward", "silu_backward",
    "mish_backward", "softplus_backward", "hardtanh_backward", "hardsigmoid_backward", "hardswish_backward",
    "leaky_relu_backward", "elu_backward", "log_sigmoid_backward", "softshrink_backward", "hardshrink_backward",
    "native_dropout_backward", "_masked_scale", "masked_scatter", "logit_backward", "rrelu_with_noise_backward",
    "mse_loss_backward", "smooth_l1_loss_backward", "huber_loss_backward", "binary_cross_entropy_backward",
    "soft_margin_loss_backward", "masked_fill_backward", "_prelu_kernel", "_prelu_kernel_backward", "glu",
    "glu_backward", "bernoulli", "normal", "uniform", "random", "exponential", "cauchy", "log_normal", "geometric",
    "bucketize", "searchsorted",
]  # fmt: skip
"""One FLOP an element unless `_FLOPS` says otherwise."""

_ZOO = {"sigmoid": "sigmoid", "tanh": "tanh", "hardtanh": "relu6", "relu6": "relu6", "leaky_relu": "leaky_relu",
        "elu": "elu", "selu": "selu", "gelu": "gelu", "silu": "silu", "mish": "mish", "softplus": "softplus",
        "hardsigmoid": "hard_sigmoid", "hardswish": "hard_swish"}  # fmt: skip
_OWN = {"native_dropout_backward": 2, "lerp": 3, "addcmul": 2, "addcdiv": 2, "glu": 5, "glu_backward": 9, "clamp": 2,
        "_prelu_kernel": 2, "_prelu_kernel_backward": 4, "mse_loss_backward": 3, "remainder": 3, "hypot": 4,
        "logaddexp": 5, "xlogy": 2}  # fmt: skip


def _flops() -> dict[str, int]:
    """FLOPs an element of what is not one: those of the zoo's operations where it has them."""
    table, zoo = dict(_OWN), operations()
    for name, kind in _ZOO.items():
        if kind in zoo:
            table[name] = getattr(zoo[kind], "forward_flops", 1)
            table[f"{name}_backward"] = getattr(zoo[kind], "backward_flops", 1)
    return table


_FLOPS = _flops()


@rule(*ELEMENTWISE)
def _elementwise(call: Call) -> list[Draft]:
    """The default of every element-wise call: bytes of operands and result, one FLOP an element."""
    name = call.name.removesuffix("_") if call.name not in _FLOPS else call.name
    return [
        one_pass(call, OpClass.ELEMENTWISE, _FLOPS.get(name, 1) * max((o.distinct for o in call.outputs), default=0))
    ]


@rule("_to_copy", "to")
def _cast(call: Call) -> list[Draft]:
    return [one_pass(call, OpClass.CAST, 0)]


@rule("copy", "copy_", "_copy_from", "alias_copy")
def _copy(call: Call) -> list[Draft]:
    """The destination is written, not read."""
    return [Draft(OpClass.COPY, 0, moved(call.args[1]), moved(*call.outputs))]


@rule("sum", "mean", "nansum", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "any", "all", "norm", "cumsum",
      "cumprod", "cummax", "cummin", "linalg_vector_norm", "logsumexp", "_logcumsumexp", "aminmax", "count_nonzero",
      "median", "nanmedian", "_is_all_true", "_is_any_true", "mode", "kthvalue", "dist", "trace",
      "l1_loss")  # fmt: skip
def _reduction(call: Call) -> list[Draft]:
    """One operation an input; sums of few values each are loops over what they give."""
    few = total(call.outputs) * FEW >= total(call.tensors())
    return [one_pass(call, OpClass.ELEMENTWISE if few else OpClass.REDUCTION, total(call.tensors()))]


FEW = 8
"""Values up to which a sum is no reduction of rows: the branches of ResNeSt and SKNet are added so.
Source: PyTorch 2.14, `torch/_inductor/config.py`, `unroll_reductions_threshold`."""


@rule("var", "std", "var_mean", "std_mean", "mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss",
      "binary_cross_entropy", "_weight_norm_interface", "_weight_norm_interface_backward")  # fmt: skip
def _three_each(call: Call) -> list[Draft]:
    """Difference, square or comparison, sum."""
    return [one_pass(call, OpClass.REDUCTION, 3 * total(call.tensors()))]


@rule("topk", "sort", "argsort", "unique_dim", "_unique2")
def _sort(call: Call) -> list[Draft]:
    """Counted as one pass, where a radix sort makes a few."""
    return [one_pass(call, OpClass.REDUCTION, total(call.tensors()))]


@rule("clone", "cat", "stack", "contiguous", "constant_pad_nd", "roll", "flip", "rot90", "repeat", "repeat_interleave",
      "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
      "replication_pad3d", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "tril", "triu", "im2col",
      "unfold_backward", "diag_embed", "diagonal_copy", "view_copy", "expand_copy", "permute_copy", "split_copy",
      "kron", "block_diag", "_pin_memory", "slice_scatter", "select_scatter", "as_strided_copy", "one_hot",
      "as_strided_scatter", "diagonal_scatter", "fft_fftshift")  # fmt: skip
def _rearranged(call: Call) -> list[Draft]:
    return [one_pass(call, OpClass.COPY, 0)]


@rule("col2im", "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward",
      "replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward")  # fmt: skip
def _added_back(call: Call) -> list[Draft]:
    """A copy whose targets overlap: one addition an input."""
    return [Draft(OpClass.COPY, call.args[0].distinct, moved(call.args[0]), moved(*call.outputs))]


@rule("slice_backward", "select_backward", "diagonal_backward", "as_strided_backward", "trace_backward")
def _placed(call: Call) -> list[Draft]:
    """The gradient of the whole is cleared, and the part's is copied in."""
    part, whole = call.args[0], call.outputs[0]
    return [
        Draft(OpClass.COPY, 0, (), moved(whole)),
        Draft(OpClass.COPY, 0, moved(part), ((whole.kind, part.distinct),)),
    ]


@rule("index", "index_select", "gather", "take", "take_along_dim", "masked_select", "_unsafe_index")
def _gathered(call: Call) -> list[Draft]:
    """What is picked is read, not the whole source."""
    source, others = call.args[0], list(call.tensors())[1:]
    picked = ((source.kind, min(size(call), source.distinct)),)
    return [Draft(OpClass.LOOKUP, 0, (*picked, *moved(*others)), moved(*call.outputs))]


@rule("index_put", "_unsafe_index_put", "index_add", "scatter", "scatter_add", "scatter_reduce", "index_copy",
      "index_fill", "_index_put_impl", "index_reduce", "put", "fill_diagonal")  # fmt: skip
def _scattered(call: Call) -> list[Draft]:
    """The places that are hit are read, added to and written; out of place, the rest is copied first."""
    target, others = call.args[0], list(call.tensors())[1:]
    values = min((tensor.distinct for tensor in others if tensor.kind is not Kind.INDEX), default=target.distinct)
    hit = ((call.outputs[0].kind, max(values, 1)),) if call.outputs else ()
    scatter = Draft(OpClass.LOOKUP, values, (*moved(*others), *hit), hit)
    if call.name.endswith("_") and not call.name.startswith("_unsafe"):
        return [scatter]
    return [Draft(OpClass.COPY, 0, moved(target), moved(*call.outputs)), scatter]


@rule("embedding_renorm", "zero", "zeros", "ones", "full", "arange", "linspace", "logspace", "zeros_like", "ones_like",
      "full_like", "new_zeros", "new_ones", "new_full", "scalar_tensor", "eye", "fill", "rand", "randn", "rand_like",
      "randn_like", "randint", "randint_like", "randperm", "tril_indices", "triu_indices", "bartlett_window",
      "hann_window", "_efficientzerotensor", "normal_functional", "range")  # fmt: skip
def _filled(call: Call) -> list[Draft]:
    """Written without being read."""
    return [Draft(OpClass.COPY, 0, (), moved(*call.outputs))]


_RESAMPLED = {
    f"{prefix}upsample_{mode}{sides}d{suffix}{direction}": taps
    for prefix in ("", "_")
    for mode, sides, taps in (
        ("nearest", 1, 1), ("nearest", 2, 1), ("nearest", 3, 1), ("nearest_exact", 1, 1), ("nearest_exact", 2, 1),
        ("nearest_exact", 3, 1), ("linear", 1, 2), ("bilinear", 2, 4), ("trilinear", 3, 8), ("bicubic", 2, 16),
    )
    for suffix in ("", "_aa")
    for direction in ("", "_backward")
}  # fmt: skip
"""Resampling -> input values an output mixes."""


@rule(*_RESAMPLED, "grid_sampler_2d", "grid_sampler_2d_backward")
def _resampled(call: Call) -> list[Draft]:
    """A product and a sum a tap; nearest neighbours are a copy."""
    taps = _RESAMPLED.get(call.name, 4)
    larger = max(call.args[0].distinct, size(call))
    return [one_pass(call, OpClass.POOLING, 2 * taps * larger if taps > 1 else 0)]
