"""A campaign of changed uploads: sound files of every format, changed by seed, inspected as a child of a worker does.

python -m tests.mutants --count 5000 --seed 0    runs it (`make mutants`)
python -m tests.mutants --only 1234 --seed 0     repeats one mutant and keeps its folder
"""
