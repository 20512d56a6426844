"""One run from end to end, for both front ends of the harness: the command line and pytest.

request      what a person asked for; `options` has the options that both front ends share
chosen       the cases that a request chooses; `shard` picks one part of them
machine      what this machine offers to cases
player       how cases are played
session      the run: its cases, their results as they come, and the whole run at the end
publication  the files that a run publishes
drawing      draws the reports of earlier runs again
"""
