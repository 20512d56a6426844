"""compare.html: programs of one role side by side, section by section."""
