"""Starts programs as processes, limits and measures them, and ends them with their children."""
