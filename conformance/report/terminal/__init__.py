"""Texts about a run for a terminal. Other reports use some of them."""
