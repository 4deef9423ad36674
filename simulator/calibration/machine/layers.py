"""Single layers of PyTorch on this machine, each beside the kernels that our cost rules give it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from simulator.calibration.machine.timing import Stopwatch
from simulator.op.activation import Relu, Softmax
from simulator.op.base import Op, Shape, Site
from simulator.op.combine import Add
from simulator.op.convolution import Convolution
from simulator.op.gelu import Gelu
from simulator.op.kernel import Affine, Gemm, Kernel, Phase, once
from simulator.op.layer_norm import LayerNorm
from simulator.op.linear import Linear
from simulator.op.normalization import BatchNorm
from simulator.op.optimizer import get_optimizer
from simulator.op.pooling import AveragePool, GlobalPool, MaxPool

BUDGET_S = 0.06
"""A call. [s]"""

Call = Callable[[], object]
Calls = dict[str, Call]
"""Phase -> call; "gradient" is both gradients at once."""

COLD_BYTES = 2**25
"""Of a layer's weights in turn, and of what is read between gradients: more than a second-level cache."""
COLD_PHASES = ("input_gradient", "weight_gradient", "gradient")
MOST_COPIES = 64

SETTLE_BYTES = 2**25 - 2**16
"""A tensor just below what glibc's malloc always takes from the system: freed once, it lets smaller ones be reused."""


@dataclass(frozen=True)
class TimedLayer:
    """A layer on a batch, and whether its inputs get a gradient."""

    op: Op
    shape: Shape
    batch: int
    inputs: int = 1

    @property
    def name(self) -> str:
        """For tables: "conv 64x56x56, batch 4"."""
        return f"{self.op.kind} {'x'.join(map(str, self.shape))}, batch {self.batch}"

    def kernels(self, phase: str) -> list[Kernel]:
        """What our rules say that a call of a phase does, at this batch."""
        inputs = (self.shape,) * self.inputs
        site = Site(inputs, self.op.output_shape(inputs), training=phase != "inference")
        if phase in ("forward", "inference"):
            chosen = self.op.forward(site)
        else:
            chosen = [k for k in self.op.backward(site) if phase == "gradient" or k.phase is Phase[phase.upper()]]
        return [_at_batch(kernel, self.batch) for kernel in chosen]


@dataclass(frozen=True)
class Timed:
    """A measured call and its kernels. [s]"""

    name: str
    phase: str
    kernels: tuple[Kernel, ...]
    seconds: float


def _at_batch(kernel: Kernel, batch: int) -> Kernel:
    """The kernel at one batch size, its counts no longer growing with the batch."""

    def fixed(count: Affine) -> Affine:
        return once(count.fixed + batch * count.per_sample)

    gemm = kernel.gemm
    return replace(
        kernel,
        flops=fixed(kernel.flops),
        read=tuple((role, fixed(count)) for role, count in kernel.read),
        write=tuple((role, fixed(count)) for role, count in kernel.write),
        gemm=Gemm(fixed(gemm.m), fixed(gemm.n), fixed(gemm.k), gemm.groups) if gemm else None,
        streamed=fixed(kernel.streamed),
    )


def _conv(out: int, kernel: int, stride: int = 1, groups: int = 1) -> Convolution:
    return Convolution(out=out, kernel=kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)


LAYERS = (
    TimedLayer(_conv(64, 7, 2), (3, 224, 224), 2),
    TimedLayer(_conv(32, 3, 2), (3, 224, 224), 4),
    TimedLayer(_conv(64, 3), (64, 56, 56), 2),
    TimedLayer(_conv(64, 3), (64, 56, 56), 8),
    TimedLayer(_conv(128, 3), (128, 28, 28), 4),
    TimedLayer(_conv(256, 3), (256, 14, 14), 4),
    TimedLayer(_conv(512, 3), (512, 7, 7), 4),
    TimedLayer(_conv(128, 3, 2), (64, 56, 56), 4),
    TimedLayer(_conv(128, 1, 2), (64, 56, 56), 4),
    TimedLayer(_conv(256, 1), (64, 56, 56), 2),
    TimedLayer(_conv(64, 1), (256, 56, 56), 4),
    TimedLayer(_conv(24, 1), (96, 56, 56), 4),
    TimedLayer(_conv(96, 1), (16, 112, 112), 4),
    TimedLayer(_conv(192, 1), (32, 28, 28), 8),
    TimedLayer(_conv(64, 1), (384, 14, 14), 8),
    TimedLayer(_conv(160, 1), (960, 7, 7), 8),
    TimedLayer(_conv(128, 3, 1, 32), (128, 28, 28), 4),
    TimedLayer(_conv(256, 3, 1, 32), (256, 14, 14), 4),
    TimedLayer(_conv(32, 3, 1, 32), (32, 112, 112), 4),
    TimedLayer(_conv(96, 3, 2, 96), (96, 112, 112), 4),
    TimedLayer(_conv(144, 3, 1, 144), (144, 56, 56), 4),
    TimedLayer(_conv(384, 3, 1, 384), (384, 14, 14), 8),
    TimedLayer(Linear(out=1024), (128, 256), 4),
    TimedLayer(Linear(out=256), (128, 1024), 8),
    TimedLayer(Linear(out=1000), (512,), 16),
    TimedLayer(Linear(out=4096), (128, 256), 4),
    TimedLayer(BatchNorm(), (64, 56, 56), 4),
    TimedLayer(BatchNorm(), (96, 56, 56), 16),
    TimedLayer(BatchNorm(), (384, 14, 14), 8),
    TimedLayer(Relu(), (64, 56, 56), 4),
    TimedLayer(Relu(), (96, 56, 56), 16),
    TimedLayer(Relu(), (384, 14, 14), 8),
    TimedLayer(Add(), (64, 56, 56), 8, 2),
    TimedLayer(Add(), (128, 28, 28), 8, 2),
    TimedLayer(MaxPool(kernel=3, stride=2, padding=1), (64, 112, 112), 2),
    TimedLayer(MaxPool(kernel=2, stride=2), (64, 56, 56), 8),
    TimedLayer(AveragePool(kernel=2, stride=2), (64, 56, 56), 8),
    TimedLayer(GlobalPool(), (512, 7, 7), 16),
    TimedLayer(GlobalPool(), (144, 56, 56), 4),
    TimedLayer(Softmax(), (512, 128), 16),
    TimedLayer(Softmax(), (64, 8192), 4),
    TimedLayer(LayerNorm(), (128, 256), 8),
    TimedLayer(LayerNorm(), (256, 768), 8),
    TimedLayer(Gelu(), (128, 1024), 4),
    TimedLayer(Gelu(), (256, 1024), 16),
)
"""Shapes of ResNets, MobileNets and small transformers; outputs below 32 MiB, so that memory is reused."""

UPDATED = (2**16, 2**20, 2**22)
"""Elements of tensors that SGD updates."""

CALLS = 110
"""About how many calls there are, for the progress bar."""


def product_call(sides: tuple[int, int, int], seconds: float) -> Timed:
    """A measured product of (m x k) by (k x n) beside its kernel."""
    m, n, k = sides
    layer = TimedLayer(Linear(out=n, bias=False), (k,), m)
    return Timed(f"product {m} x {n} x {k}", "forward", tuple(layer.kernels("forward")), seconds)


def settle(torch: Any) -> None:
    """Let the allocator learn to reuse memory, as it does in a network's first step."""
    torch.ones(SETTLE_BYTES, dtype=torch.uint8)


def timed_layers(torch: Any, stopwatch: Stopwatch) -> Iterator[Timed]:
    """Each layer's phases, then updates.

    Forward, a layer finds its input where the layer before has just left it; what a gradient or an update reads was
    left long ago, so that something else is read in between.
    """
    settle(torch)
    other = torch.ones(COLD_BYTES // 4)
    for layer in LAYERS:
        for phase, call in _calls(torch, layer).items():
            before = other.sum if phase in COLD_PHASES else None
            with torch.no_grad():
                seconds = stopwatch.best(call, BUDGET_S, before)
            yield Timed(layer.name, phase, tuple(layer.kernels(phase)), seconds)
    for size in UPDATED:
        seconds = stopwatch.best(_update(torch, size), BUDGET_S, other.sum)
        kernel = get_optimizer("sgd").update(size, master_weights=False)
        yield Timed(f"sgd of {size} parameters", "update", (kernel,), seconds)


def _update(torch: Any, size: int) -> Call:
    parameter = torch.nn.Parameter(torch.ones(size))
    parameter.grad = torch.ones(size)
    step: Call = torch.optim.SGD([parameter], lr=1e-9, momentum=0.9, weight_decay=1e-9).step
    return step


def _calls(torch: Any, layer: TimedLayer) -> Calls:
    """The calls of a layer's phases on random numbers."""
    op, x = layer.op, torch.randn(layer.batch, *layer.shape)
    match op:
        case Convolution():
            return _convolution(torch, op, x)
        case Linear():
            return _linear(torch, op, x)
        case BatchNorm():
            return _batch_norm(torch, x)
        case LayerNorm():
            return _layer_norm(torch, x)
        case MaxPool():
            return _max_pool(torch, op, x)
    return _plain(torch, op, x)


def _cold(weight: Any) -> Iterator[Any]:
    """Copies of a weight in turn, so that it comes from where other layers' work has left it: not the nearest cache."""
    copies = min(max(COLD_BYTES // (weight.numel() * weight.element_size()), 2), MOST_COPIES)
    return cycle([weight.clone() for _ in range(copies)])


def _convolution(torch: Any, op: Convolution, x: Any) -> Calls:
    kernel, stride, padding = ([side, side] for side in (op.kernel, op.stride, op.padding))
    weights = _cold(torch.randn(op.out, x.shape[1] // op.groups, *kernel))
    gradient = torch.randn_like(torch.conv2d(x, next(weights), None, stride, padding, 1, op.groups))

    def backward(*wanted: bool) -> object:
        of = torch.ops.aten.convolution_backward
        return of(gradient, x, next(weights), None, stride, padding, [1, 1], False, [0, 0], op.groups, [*wanted, False])

    calls: Calls = {"forward": lambda: torch.conv2d(x, next(weights), None, stride, padding, 1, op.groups)}
    if x.shape[1] > 3:
        calls["input_gradient"] = lambda: backward(True, False)
    return calls | {"weight_gradient": lambda: backward(False, True)}


def _linear(torch: Any, op: Linear, x: Any) -> Calls:
    rows = x.reshape(-1, x.shape[-1])
    weights, bias = _cold(torch.randn(op.out, x.shape[-1])), torch.randn(op.out)
    gradient = torch.randn(len(rows), op.out)
    return {
        "forward": lambda: torch.nn.functional.linear(rows, next(weights), bias),
        "input_gradient": lambda: torch.mm(gradient, next(weights)),
        "weight_gradient": lambda: (torch.mm(gradient.t(), rows), gradient.sum(0)),
    }


def _batch_norm(torch: Any, x: Any) -> Calls:
    aten = torch.ops.aten
    scale, shift, mean, variance = (torch.ones(x.shape[1]) for _ in range(4))
    output, saved, inverse = torch.native_batch_norm(x, scale, shift, mean, variance, True, 0.1, 1e-5)
    gradient = torch.randn_like(output)
    rest = (scale, mean, variance, saved, inverse, True, 1e-5, [True, True, True])
    return {
        "forward": lambda: torch.native_batch_norm(x, scale, shift, mean, variance, True, 0.1, 1e-5),
        "inference": lambda: torch.native_batch_norm(x, scale, shift, mean, variance, False, 0.1, 1e-5),
        "gradient": lambda: aten.native_batch_norm_backward(gradient, x, *rest),
    }


def _layer_norm(torch: Any, x: Any) -> Calls:
    shape = list(x.shape[-1:])
    scale, shift = torch.ones(shape), torch.ones(shape)
    _, mean, inverse = torch.native_layer_norm(x, shape, scale, shift, 1e-5)
    gradient = torch.randn_like(x)
    rest = (x, shape, mean, inverse, scale, shift, [True, True, True])
    return {
        "forward": lambda: torch.native_layer_norm(x, shape, scale, shift, 1e-5),
        "gradient": lambda: torch.ops.aten.native_layer_norm_backward(gradient, *rest),
    }


def _max_pool(torch: Any, op: MaxPool, x: Any) -> Calls:
    sides = [[side, side] for side in (op.kernel, op.stride, op.padding)]
    output, indices = torch.ops.aten.max_pool2d_with_indices(x, *sides)
    gradient = torch.randn_like(output)
    of = torch.ops.aten.max_pool2d_with_indices_backward
    return {
        "forward": lambda: torch.ops.aten.max_pool2d_with_indices(x, *sides),
        "input_gradient": lambda: of(gradient, x, *sides, [1, 1], False, indices),
    }


def _plain(torch: Any, op: Op, x: Any) -> Calls:
    """Operations of one input and no weights; their gradients where PyTorch has one call for them."""
    aten, gradient = torch.ops.aten, torch.randn_like(x)
    match op:
        case Relu():
            return {
                "forward": lambda: torch.relu(x),
                "input_gradient": lambda: aten.threshold_backward(gradient, x, 0),
            }
        case Gelu():
            return {"forward": lambda: aten.gelu(x), "input_gradient": lambda: aten.gelu_backward(gradient, x)}
        case Softmax():
            return {
                "forward": lambda: torch.softmax(x, -1),
                "input_gradient": lambda: aten._softmax_backward_data(gradient, x, -1, x.dtype),
            }
        case Add():
            return {"forward": lambda: torch.add(x, gradient)}
        case AveragePool():
            return {"forward": lambda: torch.nn.functional.avg_pool2d(x, op.kernel, op.stride)}
        case GlobalPool():
            return {"forward": lambda: x.mean((2, 3), keepdim=True)}
    raise NotImplementedError(op.kind)
