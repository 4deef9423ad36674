"""Datasets: how many samples an epoch has."""

from typing import Annotated

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.errors import InputError, UnknownNameError

FOLDER = "workloads/datasets"

LARGEST = 10**15
"""A dataset of more samples is surely a mistake."""


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A dataset: `workloads/datasets/<name>.yaml`."""

    name: str
    samples: Annotated[int, Meta(gt=0, description="training samples of one epoch")]
    sample_bytes: Annotated[int, Meta(gt=0, description="stored bytes a sample, on average")] | None = None
    description: str = ""
    source: str = ""
    aliases: list[str] = []


def load_dataset(name: str) -> Dataset:
    """A dataset by name, or an `UnknownNameError` with the nearest one."""
    path = catalog.shipped(FOLDER, name)
    if path is None:
        raise UnknownNameError("dataset", name, catalog.names(FOLDER))
    dataset: Dataset = catalog.convert(catalog.read_yaml(path), Dataset, str(path))
    return dataset


def custom_dataset(samples: int) -> Dataset:
    """A dataset of which only the size is known."""
    if not 1 <= samples <= LARGEST:
        raise InputError(f"--samples must be at least 1 and at most {LARGEST}, found {samples}")
    return Dataset(name=f"{samples} samples", samples=samples)
