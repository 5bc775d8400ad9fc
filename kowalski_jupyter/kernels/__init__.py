"""Child kernels: one sandboxed process per run and language, kept warm in a small pool."""
