"""Plays cases, and returns their outcomes. It knows no YAML and no report.

case/       plays one case, from its first step to its failure or its end
actors/     the actors; each verb is a method: what a program or a connection does, or must do
processes/  starts programs as processes, limits them, measures them, and ends them
terminals/  what a program writes to: pipes, a terminal, a screen
network/    connections, the pieces in which bytes are delivered, and the ports of programs
schedule/   the order of cases, how many are played in parallel, and their deadlines
examine/    examines one program by itself, for `conformance doctor`
"""
