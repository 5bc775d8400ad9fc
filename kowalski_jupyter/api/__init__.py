"""Runs from Python: what `from kowalski_jupyter import RLM` is made of. Imports no IPython."""
