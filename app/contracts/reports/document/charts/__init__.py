"""Charts of a report as SVG, which any browser shows without scripts. Standard library only."""
