"""The lane `predict`: warm sessions of models, each a sandboxed child, that answer rows."""
