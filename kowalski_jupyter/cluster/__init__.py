"""The user's devices: found, watched, loaded with models. Knows no Jupyter."""
