"""Runs as files: a notebook that can be run, and lines of JSON."""
