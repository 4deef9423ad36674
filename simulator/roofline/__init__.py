"""Kernels and a device to times: the roofline. To change how long a kernel takes, change this package alone."""
