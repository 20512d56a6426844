"""YAML and the protocol text → the types of `model`. It depends on no process and no report."""
