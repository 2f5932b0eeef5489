"""The recipe: what a spec leaves out, chosen from its data and network, each choice with its reason."""
