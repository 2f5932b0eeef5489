"""The parts of `resolve`: one file for each check of a spec against its datasets, teachers and student."""
