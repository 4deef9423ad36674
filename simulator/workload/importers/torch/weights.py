"""Networks that download weights while they are built: nothing is fetched, since a trace reads no values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from simulator.workload.importers.torch.values import built_without_data

FETCH = "load_state_dict_from_url"


def built(make: Callable[[], Any]) -> Any:
    """A module without memory where its construction allows it, and without weights from elsewhere."""
    with unfetched(make):
        try:
            with built_without_data():
                return make()
        except Exception:  # whatever needs values while it is built
            return make()


class Unfetched(dict[str, Any]):
    """Weights that stay where they are."""


@contextmanager
def unfetched(make: Callable[[], Any]) -> Iterator[None]:
    """Every module's own name of `torch.hub.load_state_dict_from_url` gives `Unfetched`, which fits any network.

    `make` may come from a file, whose names are in no module.
    """
    load = torch.nn.Module.load_state_dict
    rooms = [vars(module) for module in list(sys.modules.values())] + [getattr(make, "__globals__", {})]
    owners = [room for room in rooms if callable(room.get(FETCH))]
    fetches = [owner[FETCH] for owner in owners]
    for owner in owners:
        owner[FETCH] = _fetch
    torch.nn.Module.load_state_dict = _accepting(load)
    try:
        yield
    finally:
        torch.nn.Module.load_state_dict = load
        for owner, fetch in zip(owners, fetches, strict=True):
            owner[FETCH] = fetch


def _fetch(*_: Any, **__: Any) -> Unfetched:
    return Unfetched()


def _accepting(load: Callable[..., Any]) -> Callable[..., Any]:
    def loaded(module: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(state, Unfetched):
            return load(module, {}, strict=False)
        return load(module, state, *args, **kwargs)

    return loaded
