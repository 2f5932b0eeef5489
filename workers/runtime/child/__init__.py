"""Child processes: one for each attempt, forked from a warm server, sandboxed, never outliving the supervisor."""
