"""Puts loop, models and kernels together and offers them on a private unix socket."""
