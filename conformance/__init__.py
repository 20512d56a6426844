"""A harness that holds programs, in any language, to the text of a protocol."""

__version__ = "0.1.0"
