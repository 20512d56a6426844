"""Programs that break one rule each, and the right server and client from which they are made.

The harness must catch each of them, at the expected step and by the rule that it breaks.
The right server and the right client are written from the protocol text alone. They serve only
this purpose, and share no code with the servers and clients of this project.
"""
