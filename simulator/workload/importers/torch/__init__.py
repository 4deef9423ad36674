"""PyTorch: `torch:package.module:callable` or `torch:path/to/file.py:callable`, any `nn.Module`, traced and never run.

The module runs forward and backward on meta tensors, which have shapes and no values, at two batch sizes; each ATen
call below autograd becomes a layer with its kernels and those of its gradients. The update needs no tracing: an
optimizer touches every trained value once, whatever the network, so that lowering's own kernel serves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.workload.dataset import NO_DATASET
from simulator.workload.importers import Given, Request
from simulator.workload.importers.torch.tracing import TorchSource, Tracing
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    from simulator.workload.importers.torch.layers import Assembly
    from simulator.workload.importers.torch.rules import Rule

__all__ = ["TorchSource", "Tracing", "from_torch", "load", "traced", "tracing_by", "tracing_of", "tried", "user_code"]

BATCH = 32
"""Samples a step where nobody says."""


def load(location: str, request: Request) -> Workload:
    """The workload of a callable that returns an `nn.Module`, or of a module object, on one input of `request`'s shape.

    Raises
    ------
    UnsupportedError
        Without PyTorch, or for an ATen function without a cost rule.
    InputError
        If the callable cannot be imported, the input shape is missing, or the module fails on it.
    """
    torch = _torch()
    given = _given(request, location)
    with user_code(f"torch:{location}"):
        model = _build(torch, _resolve(location))
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"torch:{location}: expected an nn.Module or what returns one, found {type(model).__name__}")
    return tried(model, given, request, TorchSource(location, f"torch:{location}"))


def tried(model: Any, given: tuple[Given, ...], request: Request, source: TorchSource) -> Workload:
    """Training first, then evaluation where nobody asks for training; numbers first, then tokens where none is said."""
    torch = _torch()
    embeds = any(isinstance(module, torch.nn.Embedding | torch.nn.EmbeddingBag) for module in model.modules())
    dtypes = ["float32", "int64"] if embeds else ["float32"]
    modes = [True, False] if request.training is None else [request.training]
    failed: SimulatorError | None = None
    for training in modes:
        for dtype in dtypes:
            try:
                examples = [_example(torch, one, dtype) for one in given]
                return traced(model, examples, tracing_of(request, source, training=training))
            except (InputError, UnsupportedError) as error:
                if isinstance(error, UnsupportedError) and training is modes[-1]:
                    raise failed or error from None
                failed = failed or error
    raise failed or InputError(f"{source.where}: nothing to trace")


def tracing_of(request: Request, source: TorchSource, *, training: bool) -> Tracing:
    """How to trace, as a request says."""
    return Tracing(
        source.name,
        where=source.where,
        attention=request.attention,
        allow_unknown=request.allow_unknown,
        names=tuple(one.name for one in request.inputs if one.name),
        training=training,
        real=request.trace == "real",
        boxes=request.boxes,
    )


def _example(torch: Any, given: Given, dtype: str) -> Any:
    """A tensor without data, of one sample."""
    kind = getattr(torch, given.dtype or dtype, None)
    if not isinstance(kind, torch.dtype):
        raise InputError(f"--input {given.dtype}: not a type of PyTorch, such as int64, float32 or bool")
    return torch.empty(1, *given.shape, device="meta", dtype=kind)


def from_torch(
    model: Any, example_inputs: Any, tracing: Tracing | None = None, *, rules: Mapping[str, Rule] | None = None
) -> Workload:
    """The workload of an `nn.Module`, traced forward and backward without memory and without running it.

    Parameters
    ----------
    example_inputs : a tensor, several, or a mapping of names to tensors, whose first side is the batch. Numbers in
        them are not looked at; whole numbers and masks are, where the module asks for their values.
    tracing : how, where it is not to be as usual.
    rules : cost rules of your own, as of `tracing`.

    Raises
    ------
    UnsupportedError
        Without PyTorch, for an operation without a cost rule, or counts that are not affine in the batch.
    InputError
        If the module fails on the inputs.
    """
    torch = _torch()
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"from_torch: expected an nn.Module, found {type(model).__name__}")
    asked = tracing or Tracing()
    asked = replace(asked, name=asked.name or type(model).__name__, rules={**asked.rules, **(rules or {})})
    if isinstance(example_inputs, Mapping):
        asked, example_inputs = replace(asked, names=tuple(example_inputs)), list(example_inputs.values())
    examples = [example_inputs] if isinstance(example_inputs, torch.Tensor) else list(example_inputs)
    if not examples or not all(isinstance(item, torch.Tensor) and item.dim() for item in examples):
        raise InputError(
            "from_torch: example_inputs must be a tensor or several, each with the batch as its first side"
        )
    return traced(model, examples, asked)


def tracing_by(asked: Mapping[str, Any]) -> Tracing:
    """How to trace, by keywords, of which `trace` is "meta" or "real"; a `TypeError` for a keyword that is none.

    Raises
    ------
    InputError
        For another `trace`.
    """
    how = asked.get("trace", "meta")
    if how not in ("meta", "real"):
        raise InputError(f'from_torch: trace is "meta" or "real", not {how!r}')
    fields = {key: value for key, value in asked.items() if key != "trace" and value is not None}
    return Tracing(**{"real": how == "real", **fields})


def _torch() -> Any:
    try:
        return import_module("torch")
    except ImportError:
        raise UnsupportedError("reading PyTorch modules needs torch; pip install roofline-simulator[torch]") from None


def _given(request: Request, location: str) -> tuple[Given, ...]:
    """The inputs that were asked for; those with a name stand last."""
    if request.inputs:
        return tuple(sorted(request.inputs, key=lambda one: bool(one.name)))
    if request.input_shape is not None:
        return (Given(request.input_shape),)
    if request.image_size is not None:
        return (Given((3, request.image_size, request.image_size)),)
    if request.sequence is not None:
        return (Given((request.sequence,)),)
    raise InputError(f"torch:{location}: the input shape is missing; write for example --input 3,224,224")


def _resolve(location: str) -> Any:
    """The object behind `package.module:name` or `file.py:name`."""
    place, colon, name = location.rpartition(":")
    if not colon or not place or not name:
        raise InputError(f"torch:{location}: write torch:package.module:callable or torch:path/to/file.py:callable")
    found: Any = _file(Path(place)) if place.endswith(".py") else _module(place)
    for part in name.split("."):
        if not hasattr(found, part):
            known = [key for key in vars(found) if not key.startswith("_")]
            raise _unknown(name, known, place)
        found = getattr(found, part)
    return found


def _unknown(name: str, known: list[str], place: str) -> SimulatorError:
    from simulator.errors import UnknownNameError

    return UnknownNameError("callable", name, known, place)


def _module(name: str) -> Any:
    """A module by its dotted name, also from the working directory."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    finally:
        if added:
            sys.path.remove(here)


def _file(path: Path) -> Any:
    """A module from a file, whose neighbours it may import."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _build(torch: Any, found: Any) -> Any:
    """The module: what was found, or what it returns."""
    if isinstance(found, torch.nn.Module) or not callable(found):
        return found
    from simulator.workload.importers.torch.weights import built

    return built(found)


@contextmanager
def user_code(where: str) -> Iterator[None]:
    """Errors of the user's own code as one line."""
    try:
        yield
    except SimulatorError:
        raise
    except NotImplementedError as error:
        raise UnsupportedError(f"{where}: {_line(error)}") from error
    except Exception as error:
        raise InputError(f"{where}: {type(error).__name__}: {_line(error)}") from error
    except SystemExit as error:
        raise InputError(f"{where}: it ends the program ({error.code})") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def traced(model: Any, examples: Sequence[Any], tracing: Tracing) -> Workload:
    from simulator.workload.importers.torch.affine import LARGE, SMALL
    from simulator.workload.importers.torch.layers import Assembly, same_calls
    from simulator.workload.importers.torch.run import record

    with user_code(tracing.source):
        small, large = (record(model, examples, batch, tracing) for batch in (SMALL, LARGE))
        if not same_calls(small, large):  # the first run may have filled what the module keeps from then on
            small = record(model, examples, SMALL, tracing)
        alone = not tracing.training and not same_calls(small, large)
        if alone:
            small = large = record(model, examples, 1, tracing)
    assembly = Assembly(small, large, allow_unknown=tracing.allow_unknown, rules=tracing.rules, alone=alone)
    layers = assembly.layers()
    if not layers:
        raise InputError(f"{tracing.source}: the module computes nothing")
    batch = int(examples[0].shape[0])
    return Workload(
        name=tracing.name,
        inputs=assembly.inputs,
        layers=layers,
        dataset=NO_DATASET,
        batch=batch if batch > 1 else BATCH,
        description=f"PyTorch {type(model).__name__}, traced" + _remarks(assembly, tracing),
        source=tracing.source,
    )


def _remarks(assembly: Assembly, tracing: Tracing) -> str:
    """What a reader has to know of how it was traced."""
    remarks = [] if tracing.training else ["in evaluation mode, for inference alone"]
    if tracing.real:
        remarks.append("run once on random numbers, on which its control flow may depend")
    if assembly.small.selected:
        most = "all entries" if tracing.boxes is None else f"{tracing.boxes} entries at most"
        remarks.append(f"what it selects by value is counted as {most}")
    if assembly.alone:
        remarks.append("samples are taken one by one, whose kernels are counted as one for all")
    remarks += assembly.meeting
    unused = assembly.unused()
    if unused:
        total = sum(size for _, size in unused)
        remarks.append(f"{total:,} parameters unused: {', '.join(name for name, _ in unused[:5])}")
    return "".join(f"; {remark}" for remark in remarks)
