"""Class scores of which the largest of each row are stored, with what is needed to know the others together."""
