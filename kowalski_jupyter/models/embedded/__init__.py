"""The default model: a small one that runs on this machine, in a process of its own."""
