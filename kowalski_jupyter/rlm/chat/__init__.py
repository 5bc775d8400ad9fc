"""The chat with the root model: what it is told, what it remembers, how it is kept within the window."""
