"""index.html: the report for a browser, from the matrix to the timeline of each case.

It is one file, and needs no network.
"""
