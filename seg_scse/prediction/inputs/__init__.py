"""What is to be predicted: files, folders, patterns and tables become items, and items are read by windows."""
