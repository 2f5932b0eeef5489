"""What the service deletes from store, database and staging disk, and when.

    policy.py          what may be deleted, how long it is kept; `find_stale` (dry run) and `collect`
    blobs.py           bytes in the store that no row refers to
    history.py         events and metrics of jobs that ended long ago, and old notifications
    rejected_files.py  files of models and datasets that an inspection has rejected
    staged_uploads.py  uploads that were never finished
    periodic.py        the background task of the API process

Workers clean their own disks: `workers.runtime.retention`.
"""
