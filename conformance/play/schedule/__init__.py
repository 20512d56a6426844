"""The schedule of cases: their order, how many are played in parallel, and their deadlines."""
