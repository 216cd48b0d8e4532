"""Public data sets: their cards, and how to get and find their files."""
