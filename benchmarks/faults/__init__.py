"""Faults of RLM implementations: what must not happen, driven through a scripted model. See __main__.py."""
