"""Runs gone through again: to go on, to branch, to replay."""
