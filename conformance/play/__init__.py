"""Cases in, outcomes out. It knows no YAML and no report."""
