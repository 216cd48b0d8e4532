"""What is wrong with data, and what to declare for data nobody has described."""
