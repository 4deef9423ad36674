"""PyTorch's tensors counted as they are made and freed, on the meta device: what a training step holds at its fullest.

    python -m tests.allocations resnet50 vgg16   # of torchvision, batch 32, SGD with momentum: name, parameters, bytes

The meta device runs autograd as any other and allocates nothing; storages are rounded to 512 bytes, as CUDA's allocator
does. Dropout keeps masks of full width there and attention its scores, as on a processor, unlike CUDA's kernels.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GRANULE = 512
"""Of CUDA's caching allocator. [byte]"""


class Alive(TorchDispatchMode):
    """Bytes of all storages that calls made and that still live, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, int] = {}
        self.now = self.peak = 0

    def see(self, tensor: object) -> None:
        """Count a tensor's storage, once, until it is freed."""
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.known:
            self.known[key] = -(-storage.nbytes() // GRANULE) * GRANULE
            self.now += self.known[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self.known.pop(key, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a call and count what it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            self.see(leaf)
        return result


def step_bytes(
    build: Callable[[], torch.nn.Module],
    example: torch.Tensor,
    labels: torch.Tensor,
    optimizer: Callable[[Any], torch.optim.Optimizer],
) -> tuple[int, int]:
    """Parameters of a module, and bytes that its second training step holds at its fullest."""
    with torch.device("meta"):
        module = build().train()
    chosen, alive = optimizer(module.parameters()), Alive()
    example, labels = example.to("meta"), labels.to("meta")
    with alive:
        for tensor in (*module.parameters(), *module.buffers(), example, labels):
            alive.see(tensor)
        for _ in range(2):
            chosen.zero_grad()
            result = module(example)
            logits = getattr(result, "logits", result)
            torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten()).backward()
            chosen.step()
    return sum(weights.numel() for weights in module.parameters()), alive.peak


def main() -> None:
    """Networks of torchvision that the command line names."""
    import torchvision

    for name in sys.argv[1:]:
        side = 299 if name == "inception_v3" else 224
        extra = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        counted = step_bytes(
            lambda name=name, extra=extra: getattr(torchvision.models, name)(**extra),
            torch.zeros(32, 3, side, side),
            torch.zeros(32, dtype=torch.long),
            lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
        )
        print(name, *counted, sep=",")


if __name__ == "__main__":
    main()
