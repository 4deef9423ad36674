"""Operations: shape rules and cost rules, without a device and without a number format.

Importing this package registers the operations of every module in it.
"""

from importlib import import_module
from pkgutil import iter_modules

from simulator.op.base import Op, Shape, Shapes, Site, operation, operations

for _module in iter_modules(__path__):
    if _module.name != "kernels":
        import_module(f"{__name__}.{_module.name}")

__all__ = ["Op", "Shape", "Shapes", "Site", "operation", "operations"]
