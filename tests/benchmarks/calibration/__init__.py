"""How often a verdict is wrong, and how often it finds a gain: real networks, drawn into groups."""
