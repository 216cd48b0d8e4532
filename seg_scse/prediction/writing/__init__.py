"""What is left of a prediction: rasters, pictures, polygons and tables, each file complete or absent."""
