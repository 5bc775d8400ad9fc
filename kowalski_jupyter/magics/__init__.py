"""`%%rlm` and `%rlm`: the notebook side."""
