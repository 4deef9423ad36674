"""Which of llama.cpp's kernels a row of a table ran on."""

from __future__ import annotations

import re

FLASH_BY_ITSELF = 2026
"""Since when llama.cpp runs attention in one kernel, as with -fa, wherever its back end has it. Source: its help, -fa
[on|off|auto], auto by default, since August 2025."""

MATRIX_ATTENTION = 2026
"""Since when llama.cpp's own attention runs on AMD's matrix instructions, as it did before with rocWMMA alone."""


def back_end(name: str, note: str, year: int) -> str:
    """Which of llama.cpp's kernels ran: those of its back ends, and of attention with and without -fa."""
    flash = re.search(r"fa=(-fa )?1", note) or ("fa=" not in note and year >= FLASH_BY_ITSELF)
    if "vulkan" in name:
        driver = "llama.cpp-vulkan-amdvlk" if "amdvlk" in name else "llama.cpp-vulkan"
        return f"{driver}-flash" if flash else driver
    if flash and ("rocwmma" in name or ("rocm" in name and year >= MATRIX_ATTENTION)):
        return "llama.cpp-rocwmma-rocblas" if _own_library(note) else "llama.cpp-rocwmma"
    plain = "llama.cpp-rocblas" if _own_library(note) else "llama.cpp"
    return f"{plain}-flash" if flash else plain


def _own_library(note: str) -> bool:
    """Whether rocBLAS's own kernels ran where hipBLASLt's were asked for elsewhere in the table."""
    return "hipblaslt=" in note and "hipblaslt=1" not in note
