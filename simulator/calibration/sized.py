"""Networks of training tables: by name, cut to fewer layers, or a GPT whose sizes a row's note gives."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal

from simulator import catalog
from simulator.errors import UnsupportedError
from simulator.workload.importers import Request
from simulator.workload.reading import FOLDER, load_workload, read_workload
from simulator.workload.workload import Workload

CUT = re.compile(r"^(?P<name>.+) \((?P<layers>\d+) layers\)$")
"""A model's name with the layers that it was cut to, "llama3-70b (12 layers)"."""

SIZES = {
    "layers": r"NLAYERS=(\d+)",
    "hidden": r"NHIDDEN=(\d+)",
    "heads": r"NHEADS=(\d+)",
    "thousands": r"vocabulary (\d+)k",
}
"""Sizes of a GPT as notes write them, after the variables of Megatron's scripts; the vocabulary in thousands."""

BEFORE_FLASH = r"PyTorch 1\.\d"
"""Software of before fused attention: PyTorch has it from 2.0 on, Megatron since 2022."""

CUT_DENSE = ((r"Megatron-LM 23e00ed", 1),)
"""Software of a table -> dense layers that a mixture keeps in front of its others when it is cut.

SimuMax's DeepSeek V3 of 4 layers holds 104 GiB on each of 8 devices: with three dense layers it would hold 50, with
none 114 without any activation.
"""

UNSAID_HEADS = ((r"Megatron-DeepSpeed \(BLOOM", 64),)
"""Software of a table -> heads where a row does not say them: BLOOM's chronicles have "all NHEADS=64 (above too)" of
their sizes but those that vary the heads."""

TOLERANCE = 0.03
"""Share by which a model's stated parameters may differ from those of its sizes: they are rounded to a billion."""

GPT = "gpt3_175b"
"""The workload whose blocks a GPT of other sizes repeats."""


def network_of(workload: str, model: str, sequence: int, software: str, note: str) -> Workload:
    """The network of a row.

    Parameters
    ----------
    workload, model : the table's names: of ours, and of its own.
    sequence : length of a sample; 0 for the network's own. [tokens]

    Raises
    ------
    UnsupportedError
        Where neither a name of ours nor all sizes are said, or it is not said which layers a cut one keeps.
    """
    attention: Literal["eager", "fused"] = "eager" if re.search(BEFORE_FLASH, software) else "fused"
    cut = CUT.match(model)
    if cut:
        dense = next((count for pattern, count in CUT_DENSE if re.search(pattern, software)), -1)
        return _cut(workload or cut["name"].replace("-", "_"), int(cut["layers"]), sequence, attention, dense)
    if workload:
        return _named(workload, sequence, attention)
    return _sized(*_sizes(model, note, software), sequence, attention)


@lru_cache(maxsize=64)
def _named(name: str, sequence: int, attention: Literal["eager", "fused"]) -> Workload:
    return load_workload(name, request=Request(attention=attention, sequence=sequence or None))


@lru_cache(maxsize=64)
def _cut(name: str, layers: int, sequence: int, attention: Literal["eager", "fused"], dense: int) -> Workload:
    """A network of our files with fewer layers, of a mixture so many dense ones first; -1 where that is not said."""
    content = dict(_content(name))
    if "depth" not in content or ("mixture" in content and dense < 0):
        raise UnsupportedError(f"{name} cut to {layers} layers: which of its unlike layers stay is not said")
    content |= {"name": f"{content['name']}-{layers}-layers", "depth": layers}
    if "mixture" in content:
        content["mixture"] = content["mixture"] | {"dense_first": dense}
    return read_workload(content, name, Request(attention=attention, sequence=sequence or None))


@lru_cache(maxsize=64)
def _sized(
    layers: int, hidden: int, heads: int, vocabulary: int, sequence: int, attention: Literal["eager", "fused"]
) -> Workload:
    """A GPT of these sizes; its feed-forward layers are four times as wide."""
    content = dict(_content(GPT))
    content |= {"name": f"gpt-{layers}x{hidden}x{heads}", "depth": layers, "hidden": hidden, "vocabulary": vocabulary}
    content["heads"] = content["heads"] | {"count": heads}
    content["mlp"] = content["mlp"] | {"width": 4 * hidden}
    return read_workload(content, GPT, Request(attention=attention, sequence=sequence or None))


def _content(name: str) -> dict[str, Any]:
    return catalog.read_yaml(catalog.find(FOLDER, name))


def _sizes(model: str, note: str, software: str) -> tuple[int, int, int, int]:
    """Layers, hidden size, heads and vocabulary of a note, held against the parameters in the model's name.

    Layers that the note leaves out follow from the parameters: 12 h^2 a layer and one table of h a token. 181e9 of
    h = 14336 and 250,000 tokens are (181e9 - 3.6e9) / 2.47e9 = 72 layers.
    """
    found = {name: int(match[1]) for name, pattern in SIZES.items() if (match := re.search(pattern, note))}
    if "hidden" not in found:
        raise UnsupportedError("the table does not say the workload")
    for pattern, heads in UNSAID_HEADS:
        if re.search(pattern, software):
            found.setdefault("heads", heads)
    if "heads" not in found or "thousands" not in found:
        raise UnsupportedError("the note gives a GPT's hidden size, but not its heads and vocabulary")
    hidden, vocabulary = found["hidden"], 1000 * found["thousands"]
    stated = re.search(r"([\d.]+)B\b", model)
    parameters = 1e9 * float(stated[1]) if stated else 0.0
    layers = found.get("layers") or round((parameters - vocabulary * hidden) / (12 * hidden**2))
    counted = 12 * layers * hidden**2 + vocabulary * hidden
    if layers < 1 or (parameters and abs(counted / parameters - 1) > TOLERANCE):
        raise UnsupportedError(
            f"the note's sizes make {counted / 1e9:.0f}e9 parameters, the model is said to have others"
        )
    return layers, hidden, found["heads"], vocabulary
