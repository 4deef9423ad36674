"""Caffe: networks written as prototxt, from the oldest syntax to today's, and the log that Caffe writes of them.

`prototext` reads the text, `definition` and `legacy` make layers of one phase of it, `splits` and `blobs` (with `data`
and `geometry`) give every blob its shape by Caffe's rules, `translation` (with `builder`) turns the layers into
operations, `log` prints what Caffe would.
"""

from __future__ import annotations

from pathlib import Path

from simulator.workload.dataset import NO_DATASET, load_dataset
from simulator.workload.importers import Request
from simulator.workload.importers.caffe.blobs import place
from simulator.workload.importers.caffe.data import dataset_name
from simulator.workload.importers.caffe.definition import Definition, read_definition
from simulator.workload.importers.caffe.log import caffe_log
from simulator.workload.importers.caffe.translation import translate
from simulator.workload.workload import Workload, check_inputs

__all__ = ["caffe_log", "load"]


def load(location: str, request: Request) -> Workload:
    """The workload at `net.prototxt`, `net.prototxt@TRAIN` or `net.prototxt@TEST`, stages after commas.

    A batch normalisation and the scale after it are one layer, named after the first. Parameters are the trained ones;
    those that layers share by name count once. Accuracy and Silence layers are left out.

    Raises
    ------
    InputError, UnknownNameError
        One line that names the file, the line and the layer.
    UnsupportedError
        For a layer without a cost rule, unless `request.allow_unknown`.
    """
    definition = read_definition(location)
    return workload_of(definition, request)


def workload_of(definition: Definition, request: Request) -> Workload:
    """The workload of a definition that has been read."""
    layers = place(definition, request)
    builder = translate(layers, request)
    return Workload(
        name=definition.name or Path(definition.where).stem,
        inputs=check_inputs(builder.net.inputs, definition.where),
        layers=tuple(builder.net.layers),
        dataset=load_dataset(name) if (name := dataset_name(definition)) else NO_DATASET,
        batch=builder.batch,
        description="; ".join([f"Caffe network, phase {definition.state.phase}", *builder.remarks]),
        source=definition.where,
    )
