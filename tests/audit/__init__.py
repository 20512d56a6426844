"""The audit: fuzzers and analysis tools over the programs; `make audit` runs them at length."""
