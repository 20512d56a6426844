"""Results in, what people and machines read out. It knows no YAML and no process."""
