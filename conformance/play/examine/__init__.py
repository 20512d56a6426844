"""Examines programs without a scenario, for `conformance doctor` and `conformance compare`."""
