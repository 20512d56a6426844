"""Makes reports, for people and for machines, from the results of a run.

run        all data of one run
reports    the table of the files that every run writes
folder/    the output folder: writes and reads results.json, transcripts and attached files
findings/  counts and groups results, and finds out which programs are at fault
terminal/  plain text for a terminal
exports/   files that other systems read: CI, GitHub, shields.io, spreadsheets
page/      index.html, the report that people read in a browser
compare/   compare.html: programs of one role side by side
"""
