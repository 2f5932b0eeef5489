"""The campaign: every fault again and again with other seeds, and one table of what came of it."""
