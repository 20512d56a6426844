"""Commands that help a person on: to begin, to find out what is wrong, to see what happens."""
