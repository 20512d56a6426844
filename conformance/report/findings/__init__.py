"""Analyses the results of a run: counts, groups, and programs at fault. All reports use it."""
