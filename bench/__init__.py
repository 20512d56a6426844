"""The bench measures how fast chat servers are: ours beside the servers that people would pick.

    python -m bench --quick         a few minutes; --help lists rows and contenders
    python -m bench.harness         something else: what a case of `conformance` costs
    python -m bench.crowds          something else: whether our servers keep the rules in a crowd

A contender is a server. A row is one kind of work: a flood from one user to a hundred, joins, idle
users. A measurement is one contender, one row, once; it yields figures, such as deliveries a
second. The server has one processor core, the load generator another, and this program a third if
there is one. Contenders take turns, so that a slow minute of the machine is slow for all of them.

The modules, in the order in which a measurement passes through them, which is the order to read:

    rows                  the rows, and the figures that each of them yields
    peers, contenders     the servers of others; all servers, and how each is started
    build                 our servers and the C programs compiled; which contenders take part
    machine               which core does what; the machine as the results describe it
    session               every row with every contender, in turns, with progress
    measure               one measurement: starts a server, puts load on it, reads its figures
    server, child, proc   a server that runs; any program on a core; its memory and processor time
    generator             runs load.c, which is all the users at once and checks each message
    results               all samples; medians and ratios; results.json, written and read
    table, plots          a run as a page of Markdown, and as pictures
    __main__              the command line, which joins all of these

Two contenders are part of the bench: yardstick.c, which does the least that a chat server can do,
and threads.py, which is the server that people write first. `harness` plays one dialogue with
`conformance` and with bare.c, in turns; `collecting` measures the reading of scenarios. Compiling,
filling placeholders and killing what is left over is imported from `conformance`.

Figures go to build/bench/ (results.json, table.md, *.svg). What they showed is in bench/README.md.

To add a row: one entry in `rows.ROWS`; other work than load.c knows needs a mode there, and a
`Kind` with a method in `measure`. To add a contender: an entry in `peers.PEERS`, and its package in
the Makefile; a protocol that load.c does not speak is one more entry in its section 8.
"""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"


class CannotMeasure(Exception):
    """Something could not be measured; the text says why, in a sentence for a person."""
