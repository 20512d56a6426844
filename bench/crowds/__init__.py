"""Crowds: how our servers, and the users on them, behave under loads of five kinds.

    python -m bench.crowds                  a quarter of an hour for each server; --help: the rest

The bench measures how fast servers are; this module shows that they keep the rules of PROTOCOL.md
with many users, many who never read, many who never join, and many joins and leaves.
The modules, in the order in which to read them:

    room, crowd     connections; users who compare each byte with what the room saw
    server          a server that runs: its memory, descriptors and threads
    works           the five loads, each a function that yields findings
    guests, churn   clients that never join; clients that join and leave
    __main__        the command line and the table, build/load/table.md and table.json
"""
