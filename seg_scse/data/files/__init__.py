"""Files to pixels: one checked reader for every format."""
