"""The model files and test cases inside the `onnx` package, which nobody here wrote."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from simulator.errors import SimulatorError, UnsupportedError  # noqa: E402
from simulator.op.kernels import at_batch  # noqa: E402
from simulator.workload.importers import Request, load  # noqa: E402
from simulator.workload.importers.onnx.builder import GraphBuilder, GraphTensor  # noqa: E402
from simulator.workload.importers.onnx.decode import read_model  # noqa: E402
from simulator.workload.importers.onnx.inputs import read_inputs  # noqa: E402
from simulator.workload.importers.onnx.network import given_tensors  # noqa: E402
from simulator.workload.importers.onnx.run import Runner  # noqa: E402
from simulator.workload.importers.onnx.wire import Wire  # noqa: E402
from simulator.workload.lowering import lower  # noqa: E402

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FILES = sorted(
    path
    for kind in ("light", "pytorch-converted", "pytorch-operator", "simple")
    for path in (DATA / kind).rglob("*.onnx")
)


def test_the_files_of_the_package() -> None:
    """All but those of text, and those with a training step in the graph: 141 of the 149 of onnx 1.23."""
    refused: dict[str, str] = {}
    for path in FILES:
        try:
            workload = load("onnx", str(path), Request())
        except UnsupportedError as error:
            refused[path.parent.name] = str(error)
        else:
            assert np.isfinite(at_batch(lower(workload).flops, 2.0)).all(), path
    assert len(FILES) >= 140
    assert {name.split("_")[1] for name in refused} <= {"strnorm", "gradient"}
    reasons = ("text has no arithmetic", "give the graph of the forward pass")
    assert all(any(reason in text for reason in reasons) for text in refused.values())
    assert len(refused) <= 8


# ---- single operators, with the shapes of the reference implementation

NO_NETWORK = {"ai.onnx.ml", "ai.onnx.preview.training"}
BY_VALUE = ("nonmaxsuppression", "nonzero", "unique", "loop11")
"""Cases whose output is as long as values say, which is counted as the longest or as `--trips` says."""
EMPTY = ("empty_set", "zero", "out_of_bounds", "allowzero_reordered", "kernel_size_one")
"""Tensors without an element, which no layer writes."""
ACROSS = (
    "axis0",
    "axis_negative_4",
    "axis_negative_3_epsilon",
    "2d_axis_negative_2",
    "matmul_1d_1d",
    "einsum_batch_matmul",
)
"""Work across what is the batch here, the leading side of the first input."""
UNDECIDED = (
    "window",
    "melweight",
    "sequence",
    "optional",
    "loop13_seq",
    "loop16_seq_none",
    "identity_seq",
    "identity_opt",
)
"""A length or a list as the network's own input, which says nothing before a run."""
NOT_COUNTED = ("flexattention", "linear_attention", "scan_sum", "image_decoder", "string", "regex", "strnorm", "tfidf")
"""What has no rule: scores changed by a graph, the recurrences of one new operator, the oldest Scan, text, files."""


def cases() -> Iterator[tuple[str, Any, list[Any]]]:
    """(name, model, outputs) with all but the first input made constants, as a network has them."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        own = {opset.domain for opset in case.model.opset_import} & NO_NETWORK
        if own or "_expanded" in case.name or "cast" in case.name or not case.data_sets or not case.model.graph.input:
            continue
        inputs, outputs = case.data_sets[0]
        model, first = case.model, list(case.model.graph.input)
        kept = first[:1]
        for declared, value in list(zip(first, inputs, strict=True))[1:]:
            if isinstance(value, np.ndarray) and value.dtype != object:
                model.graph.initializer.append(onnx.numpy_helper.from_array(value, declared.name))
            else:
                kept.append(declared)
        del model.graph.input[:]
        model.graph.input.extend(kept)
        yield case.name, model, list(outputs)


def output_shapes(path: Path) -> list[tuple[int, ...] | None]:
    """Shapes of the graph's outputs, None for a list of tensors."""
    with path.open("rb", buffering=0) as file:
        wire = Wire(file, str(path))
        model, request = read_model(wire), Request(trips=3)
        inputs = read_inputs(model.graph, request)
        root = GraphTensor(inputs.shapes[0], inputs.values[0].kind, -1)
        builder = GraphBuilder(wire, model, request, inputs.batch, inputs.open_batch, root, symbols=inputs.symbols)
        runner = Runner(builder)
        runner.check_operators(model.graph.nodes)
        scope = runner.scope_of(model.graph, given_tensors(builder, inputs))
        runner.run(model.graph.nodes, scope)
        found = [scope.tensors[value.name] for value in model.graph.outputs if value.name]
    return [None if tensor.items is not None else tensor.shape for tensor in found]


@pytest.mark.slow
def test_the_cases_of_the_package(tmp_path: Path) -> None:
    """Every operator's cases give the shapes that the reference gives, or have a reason not to."""
    refused, wrong, right = {}, [], 0
    path = tmp_path / "case.onnx"
    for name, model, outputs in cases():
        path.write_bytes(model.SerializeToString())
        try:
            found = output_shapes(path)
        except SimulatorError as error:
            refused[name] = str(error)
            continue
        pairs = [
            (ours, np.shape(theirs))
            for ours, theirs in zip(found, outputs, strict=True)
            if isinstance(theirs, np.ndarray)
        ]
        if any(ours is not None and ours != theirs for ours, theirs in pairs):
            wrong.append(name)
        right += 1
    reasons = (*EMPTY, *ACROSS, *UNDECIDED, *NOT_COUNTED)
    assert [name for name in wrong if not any(word in name for word in (*BY_VALUE, *EMPTY))] == []
    assert [(name, text) for name, text in refused.items() if not any(word in name for word in reasons)] == []
    assert right > (1000 if onnx.defs.onnx_opset_version() >= 23 else 800)  # of 911 cases; onnx 1.23 has 1,221
