"""YAML and the protocol text in, the model out. It knows no process and no report."""
