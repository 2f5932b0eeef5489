"""Models: teachers, students, anything uploaded or trained."""
