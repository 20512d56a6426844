"""Reads and writes the output folder of a run: results, transcripts, and attached files."""
