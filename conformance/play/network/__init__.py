"""Connections, the pieces in which bytes are delivered over them, and the ports of programs."""
