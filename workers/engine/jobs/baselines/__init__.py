"""Single-task models that a multi-task student is measured against: what they are, and when two are the same."""
