"""What jobs need: models, datasets, measured networks."""
