"""The loop: reply, code, outputs, next reply, answer. Knows neither Jupyter nor HTTP."""
