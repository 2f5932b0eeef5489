"""The parts of `resolve`: what a spec asks of its datasets, teachers and student, one question a file."""
