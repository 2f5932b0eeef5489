"""The worker process: claims jobs, runs each in a child process, and keeps its disk clean.

    supervisor/   the worker itself: slots, claims, attempts, leases, publishing results
    child/        child processes: started by a fork server, sandboxed, ended with their supervisor
    disk/         inputs, free space and checkpoints on the worker's disk
    retention/    what is deleted from that disk, and when
    paths.py      the layout of the data directory
    locks.py      lock files
    clock.py      the clock that all processes of a host share
    machine.py    how much memory there is
    health.py     the health check of a worker

It imports neither torch nor the engine. `workers.child`, which runs in the child process, does.
"""
