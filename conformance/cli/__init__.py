"""The command `conformance`.

command     parses the command line, runs a command, explains errors
parser      the command line: each command with its options
playing     the commands `run` (once, or with --watch again and again) and `exec`
showing     the commands that play nothing: `list`, `check`, `next`, `diff`, and others
watch       finds out which files have changed
completion  completes words of the command line in a shell
streams     standard streams and signals, as the command found them at its start
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that `words` (default: those of sys.argv) name; return the exit status."""
    if sys.platform != "linux":
        print(f"conformance: needs Linux, and this is {sys.platform}", file=sys.stderr)
        return 2
    from conformance.cli import command  # needs Linux

    return command.main(words)
