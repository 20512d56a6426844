"""Random sessions, played on all servers or clients at once: `make fuzz`."""
