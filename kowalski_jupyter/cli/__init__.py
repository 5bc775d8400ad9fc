"""`jupyter kowalski`: what there is on this machine, the weights, and the demonstration."""

from kowalski_jupyter.cli.app import main

__all__ = ["main"]
