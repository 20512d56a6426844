"""Plays one case, from its first step to its failure or its end. Start with `runner`."""
