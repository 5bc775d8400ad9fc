"""Runs at rest: the SQLite file that keeps them, written as they happen and kept in bounds."""
