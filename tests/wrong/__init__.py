"""Programs that are wrong in one point each, and the right ones that they are made from.

The harness must catch every one of them, at the step and by the rule that it breaks.
The right server and the right client are written from the protocol text alone, for this purpose
alone: nothing is compared with them, and they share no code with the servers and clients of this
project.
"""
