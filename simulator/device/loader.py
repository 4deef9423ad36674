"""Software that prepares samples: `hardware_profiles/loaders/<name>.yaml`, in SI units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Annotated, Literal

from msgspec import Meta

from simulator import catalog
from simulator.device.profile import Source, Strict, Time
from simulator.units import parse

FOLDER = "hardware_profiles/loaders"


class LoaderProfile(Strict, frozen=True, kw_only=True):
    """A way to load samples."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]*$")]
    kind: Literal["loader"]
    description: str
    decode: Annotated[Time | None, Meta(description="one JPEG image of 110 kB, on one core")] = None
    augment: Annotated[Time | None, Meta(description="crop to 224 x 224, flip and what follows, on one core")] = None
    decoder: Annotated[Time | None, Meta(description="one JPEG image of 110 kB, in the device's own decoder")] = None
    devices: Annotated[tuple[str, ...], Meta(description="that have such a decoder; none named where it has none")] = ()
    element_bytes: Annotated[int, Meta(gt=0, description="of each value of an image as it is copied")]
    copy: Annotated[
        str | None, Meta(description="rate at which it hands batches to the device, where that is below the link's")
    ] = None
    records: Annotated[bool, Meta(description="samples lie in few files, not in one each")] = False
    aliases: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Loader:
    """How samples become a batch. Times are of one core and one image of the reference's size. [s]

    Attributes
    ----------
    copy_byte_per_s : at which batches are handed over at most. [byte/s]
    decoder_s : of one image in the device's own decoder, of `devices` alone. [s]
    """

    name: str
    decode_s: float | None
    augment_s: float
    element_bytes: int
    records: bool
    copy_byte_per_s: float = inf
    decoder_s: float | None = None
    devices: tuple[str, ...] = ()


@lru_cache
def load_loader(name: str) -> Loader:
    """A loader by name, alias or path of a YAML file.

    Raises
    ------
    UnknownNameError, InputError
        One line that names the file, the key and the nearest valid name.
    """
    path = catalog.find(FOLDER, name)
    profile: LoaderProfile = catalog.convert(catalog.read_yaml(path), LoaderProfile, str(path))
    decode_s = parse(profile.decode, "s", f"{path}: decode") if profile.decode else None
    augment_s = parse(profile.augment, "s", f"{path}: augment") if profile.augment else 0.0
    copy = parse(profile.copy, "byte/s", f"{path}: copy") if profile.copy else inf
    decoder_s = parse(profile.decoder, "s", f"{path}: decoder") if profile.decoder else None
    return Loader(
        name=profile.name,
        decode_s=decode_s,
        augment_s=augment_s,
        element_bytes=profile.element_bytes,
        records=profile.records,
        copy_byte_per_s=copy,
        decoder_s=decoder_s,
        devices=profile.devices,
    )
