"""Several model ends as one: where each request goes, what becomes of it, and what is done when an end fails."""
