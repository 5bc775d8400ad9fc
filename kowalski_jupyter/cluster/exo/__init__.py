"""exo's HTTP API: what it says, typed, and how to ask it."""
