"""Studies: the same training with several blocks and seeds, and what can be said about the difference."""
