"""What the code of a run may ask for: sub-calls, child runs, the answer."""
