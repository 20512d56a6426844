"""Mutants: the programs of this project, each with one edit that the scenarios must catch.

table        the tables of wrong edits, and of edits that break nothing
functions    where the functions of a source begin and end
operators    further edits, generated from any source
mutant       one program with one edit
order        which cases are played first
playing      plays cases against a mutant until one fails
kept         stores verdicts for later runs
report       what is printed and written
"""
