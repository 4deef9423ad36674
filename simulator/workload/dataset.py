"""Datasets: how many samples an epoch has."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.errors import InputError

FOLDER = "workloads/datasets"

LARGEST = 10**15
"""A dataset of more samples is surely a mistake."""


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A dataset: `workloads/datasets/<name>.yaml`."""

    name: str
    samples: Annotated[int, Meta(gt=0, description="training samples of one epoch")]
    sample_bytes: Annotated[int, Meta(gt=0, description="stored bytes a sample, on average")] | None = None
    encoding: Annotated[Literal["jpeg"] | None, Meta(description="how samples are packed; as they are if unsaid")] = (
        None
    )
    evaluation: Annotated[int, Meta(gt=0, description="samples of its validation set, or test set")] | None = None
    tokens: Annotated[int, Meta(gt=0, description="tokens a sample, of a text that is cut into samples")] | None = None
    classes: Annotated[int, Meta(gt=1, description="classes that its samples are sorted into")] | None = None
    description: str = ""
    source: str = ""
    aliases: list[str] = []

    @property
    def label(self) -> str:
        """As people read it: "imagenet (1,281,167 samples)", or "5,000 samples" where only their number is known."""
        size = f"{self.samples:,} samples"
        return size if self.name == _unnamed(self.samples) else f"{self.name} ({size})"


NO_DATASET = Dataset(name="no dataset", samples=1, description="a network without one has steps, but no epochs")
"""What a network from another format runs over until it is told."""


def load_dataset(name: str) -> Dataset:
    """A dataset by name or path of a YAML file, or an `UnknownNameError` with the nearest one."""
    path = catalog.find(FOLDER, name)
    dataset: Dataset = catalog.convert(catalog.read_yaml(path), Dataset, str(path))
    return dataset


def in_samples_of(dataset: Dataset, tokens: int | None) -> Dataset:
    """The same text cut into samples of another number of tokens: it keeps its tokens, not its samples."""
    if dataset.tokens is None or tokens is None or tokens == dataset.tokens:
        return dataset
    samples = max(round(dataset.samples * dataset.tokens / tokens), 1)
    scale = tokens / dataset.tokens
    stored = round(dataset.sample_bytes * scale) if dataset.sample_bytes else None
    return msgspec.structs.replace(dataset, samples=samples, sample_bytes=stored, tokens=tokens)


def custom_dataset(samples: int) -> Dataset:
    """A dataset of which only the size is known."""
    if not 1 <= samples <= LARGEST:
        raise InputError(f"--samples must be at least 1 and at most {LARGEST}, found {samples}")
    return Dataset(name=_unnamed(samples), samples=samples)


def _unnamed(samples: int) -> str:
    return f"{samples} samples"
