"""The input of a step: samples are read, prepared on the host's cores and copied, all while the device computes.

A loader that prefetches is a pipeline of three stages beside the device, so that a step takes as long as the slowest of
the four:

    step = max(device, reading, preparing, copying)

    reading   = samples of all devices of a machine x misses x (bytes / bandwidth + time lost before a file)
    preparing = samples x (decoding + augmenting) / workers
    copying   = samples x bytes of the arrays / rate of the host's link, or of the loader where that is lower

Worked: 256 images of 110 kB on 8 workers of Pillow, 3.44 ms each: 256 x 3.44 ms / 8 = 110 ms. Their fp32 arrays of
3 x 224 x 224 values, 602 kB, over PCIe 3 at 0.83 x 15.75 GB/s: 11.8 ms.

The page cache keeps what was read last; an epoch reads every sample once, in a new order. A sample at the share u of
one epoch and v of the next has (1 - u) + v - (1 - u) v of the others read in between; it is still there where that is
less than the cache's share c of the data. With u and v even on 0..1 that has the probability c + (1 - c) ln(1 - c): a
cache of half the data answers 0.15 of the reads, and one of all of it each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, isfinite, log1p
from typing import ClassVar

from simulator.device.device import Device
from simulator.device.host_link import HOST_COPY, host_link_byte_per_s
from simulator.device.loader import Loader, load_loader
from simulator.device.machine import LOCAL, Machine, disks_of
from simulator.device.storage import load_storage
from simulator.errors import InputError, UnsupportedError
from simulator.op.base import elements
from simulator.workload.dataset import NO_DATASET, Dataset
from simulator.workload.workload import Workload

IMAGE_BYTES, IMAGE_VALUES = 110e3, 3 * 224 * 224
"""The image that a loader's decoding and augmenting are of: ImageNet's mean file, and what the network reads."""

TOKEN_BYTES = 8
"""Of a token's number, as frameworks hold it."""

STORED_TOKEN_BYTES = 4
"""Of a token's number on disk, where the dataset does not say: Megatron-LM's indexed datasets have 4 bytes for
vocabularies above 65,500, 2 for smaller ones."""


@dataclass(frozen=True)
class Feeding:
    """How samples reach a device.

    Attributes
    ----------
    loader, storage : names; "local" is the machine's own disks; without storage, all samples lie in the page cache.
    workers : cores that prepare samples, of each device; all of its machine's, shared out, if None.
    samples_per_s : that one worker prepares, where the user measured it. [1/s]
    cache_bytes : of each machine's memory for the page cache.
    """

    loader: str
    workers: int | None = None
    samples_per_s: float | None = None
    storage: str | None = None
    cache_bytes: float = 0.0

    def __post_init__(self) -> None:
        """Refuse unknown names and what cannot be."""
        load_loader(self.loader)
        if self.storage is not None:
            if self.storage != LOCAL:
                load_storage(self.storage)
        elif self.cache_bytes:
            raise InputError("--page-cache is of what --storage holds: give both")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers must be at least 1, found {self.workers}")
        if self.cache_bytes < 0:
            raise InputError(f"--page-cache cannot be negative, found {self.cache_bytes:g} bytes")
        if self.samples_per_s is not None and not (isfinite(self.samples_per_s) and self.samples_per_s > 0):
            raise InputError(f"--worker-rate must be positive, found {self.samples_per_s}")

    def on(self, machine: Machine | None, loaders: int, used: int) -> Feeding:
        """The same on a machine of which so many devices work, with loaders that share out these devices' part of its
        cores; its own disks have their name.
        """
        cores = machine.cores * used // machine.devices if machine and machine.cores else None
        workers = self.workers or (max(cores // loaders, 1) if cores else None)
        return replace(self, workers=workers, storage=disks_of(self.storage, machine))


@dataclass(frozen=True)
class Input:
    """The input of a full step of each device, beside its time without any. [s]

    Attributes
    ----------
    cached : share of the samples that the page cache holds when they are read.
    enough_workers : from which on preparing keeps up with the device; None where nothing is prepared.
    """

    loader: str
    storage: str | None
    workers: int | None
    read_s: float
    prepare_s: float
    copy_s: float
    cached: float
    device_s: float
    enough_workers: int | None

    DERIVED: ClassVar = ("time_s", "slowest")
    """What documents state beside the fields, from which it follows."""

    @property
    def stages(self) -> dict[str, float]:
        """Each stage's time a step, in the order in which a sample goes through them. [s]"""
        return {"reading": self.read_s, "preparing": self.prepare_s, "copying": self.copy_s}

    @property
    def slowest(self) -> str:
        """The stage that takes longest: reading, preparing or copying."""
        return max(self.stages, key=lambda stage: self.stages[stage])

    @property
    def time_s(self) -> float:
        """Of the slowest stage."""
        return self.stages[self.slowest]

    @property
    def of_device(self) -> float:
        """Time of the slowest stage over the device's."""
        return self.time_s / self.device_s

    @property
    def exposed_s(self) -> float:
        """What the device waits in each step."""
        return max(self.time_s - self.device_s, 0.0)


def hit_rate(share: float) -> float:
    """Reads that a page cache of a share of the data answers, where each epoch has a new order."""
    return 1.0 if share >= 1 else max(share + (1 - share) * log1p(-share), 0.0)


def input_of(
    workload: Workload, device: Device, feeding: Feeding, step: tuple[int, float], machine: tuple[int, int] = (1, 1)
) -> Input:
    """The input of a step.

    Parameters
    ----------
    step : samples of each device, and its time without input. [s]
    machine : devices in one machine, and machines.

    Raises
    ------
    InputError, UnsupportedError
        For what is not known: the dataset, bytes of a sample, workers, a rate of preparing, the host's link.
    """
    (batch, device_s), (devices, machines) = step, machine
    loader, dataset = load_loader(feeding.loader), workload.dataset
    if dataset == NO_DATASET:
        raise InputError(f"{workload.name} names no dataset, so that its input is not known; give --dataset")
    cached = _cached(feeding, dataset, machines, _stored_bytes(workload, loader)) if feeding.storage else 1.0
    one_s = _prepare_seconds(workload, loader, feeding)
    if one_s and feeding.workers is None:
        raise InputError(
            f"--loader {loader.name} prepares samples on cores: give --workers, those of each device, or a --system"
        )
    read_s = 0.0
    if feeding.storage is not None:
        storage = load_storage(feeding.storage)
        each_s = _stored_bytes(workload, loader) / storage.read_byte_per_s + (0 if loader.records else storage.file_s)
        read_s = batch * devices * (1 - cached) * each_s
    prepare_s = batch * (one_s / (feeding.workers or 1) + _decoder_seconds(workload, loader, device))
    copy_s = batch * copied_bytes(workload, loader) / _copy_rate(device, loader) if device.kind != "cpu" else 0.0
    return Input(
        loader=loader.name,
        storage=feeding.storage,
        workers=feeding.workers,
        read_s=read_s,
        prepare_s=prepare_s,
        copy_s=copy_s,
        cached=cached,
        device_s=device_s,
        enough_workers=ceil(batch * one_s / device_s) if one_s else None,
    )


def copied_bytes(workload: Workload, loader: Loader) -> float:
    """Of a sample, as it goes to the device. [byte]"""
    widths = (TOKEN_BYTES if len(shape) == 1 else loader.element_bytes for shape in workload.inputs)
    return float(sum(width * elements(shape) for width, shape in zip(widths, workload.inputs, strict=True)))


def _stored_bytes(workload: Workload, loader: Loader) -> float:
    """Of a sample, as it lies in storage: of images that are not decoded, their arrays. [byte]"""
    dataset = workload.dataset
    if dataset.encoding == "jpeg" and loader.decode_s is None and loader.decoder_s is None:
        return copied_bytes(workload, loader)
    if dataset.sample_bytes is None and all(len(shape) == 1 for shape in workload.inputs):
        return float(STORED_TOKEN_BYTES * sum(elements(shape) for shape in workload.inputs))
    if dataset.sample_bytes is None:
        raise InputError(
            f"{dataset.name} does not say how many bytes a sample has; a dataset file with sample_bytes does"
        )
    return float(dataset.sample_bytes)


def _decoder_seconds(workload: Workload, loader: Loader, device: Device) -> float:
    """Of one sample in the device's own decoder, which goes with the file's bytes; 0 where the loader uses none. [s]"""
    if loader.decoder_s is None:
        return 0.0
    if device.name not in loader.devices:
        raise UnsupportedError(
            f"--loader {loader.name} decodes on the device, and {device.name} has no decoder that was measured: "
            f"{', '.join(loader.devices)} have"
        )
    _check_jpeg(workload.dataset, loader)
    return loader.decoder_s * _stored_bytes(workload, loader) / IMAGE_BYTES


def _check_jpeg(dataset: Dataset, loader: Loader) -> None:
    if dataset.encoding != "jpeg":
        raise UnsupportedError(
            f"--loader {loader.name} decodes JPEG images, and {dataset.name} is not known to hold any; --loader none "
            "reads samples as they are, --worker-rate gives a measured rate"
        )


def _prepare_seconds(workload: Workload, loader: Loader, feeding: Feeding) -> float:
    """Of one sample on one core; decoding goes with the file's bytes, augmenting with what the network reads. [s]"""
    if feeding.samples_per_s is not None:
        return 1 / feeding.samples_per_s
    if loader.decode_s is None:
        return 0.0
    _check_jpeg(workload.dataset, loader)
    values = sum(elements(shape) for shape in workload.inputs)
    size = _stored_bytes(workload, loader) / IMAGE_BYTES
    return loader.decode_s * size + loader.augment_s * values / IMAGE_VALUES


def _cached(feeding: Feeding, dataset: Dataset, machines: int, sample_bytes: float) -> float:
    """Share of the reads that the page cache answers, after the first epoch."""
    share = feeding.cache_bytes / (sample_bytes * dataset.samples)
    if machines > 1 and 0 < share < 1:
        raise UnsupportedError(
            "--page-cache of a part of the data is not modelled on several machines, each of which reads another part "
            "in each epoch; leave it out, or give the size of the whole"
        )
    return hit_rate(share)


def _copy_rate(device: Device, loader: Loader) -> float:
    """Bytes a second from the host to a device: the link's, or the loader's where that is lower. [byte/s]"""
    link = HOST_COPY * host_link_byte_per_s(device)
    return min(link, loader.copy_byte_per_s)
