"""Which files belong together as samples, and which split each sample is in."""
