"""`make demo-audio`: spoken digits, a teacher and a student at least ten times smaller, by curl."""
