"""What keeps kernels from a device's sustained rates: one file a cause, its coefficients and its formula together.

Everything else that names a coefficient follows from `registry.py`: what a profile may say, where fits start, what
`simulate explain` takes away, and the table of `docs/causes.md`. Nothing here loads NumPy before a formula runs.
"""
