"""Workloads: networks as layers with shapes, the files that describe them, and their lowering to kernels."""
