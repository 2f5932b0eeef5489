"""How often the verdict is right: draws from pools of trained networks."""
