"""What is deleted from a worker's disk, and when.

    policy.py         what may be deleted and how long it is kept; a dry run uses the same function
    job_folders.py    folders of jobs that have ended, or are unknown to the database
    cached_inputs.py  downloaded models and datasets, and downloads that were killed
    caches.py         caches that the engine writes: soft targets, decoded images and sounds, controls
    crash_logs.py     the logs of crashed attempts

`python -m workers.runtime.retention` applies the policy once. The API cleans store and database, by
`app.system.retention`.
"""
