"""Implementations made ready to run, by commands, and kept in a cache."""
