"""What a program reads from and writes to: pipes, a terminal, a shell, or a screen."""
