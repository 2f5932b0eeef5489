"""The operations of users: submit, cancel, pause, resume."""

from app.queue.submission.changes import act, submit
from app.queue.submission.rows import NewRows, inputs_of_spec, new_rows
from app.queue.submission.together import Keyed, Occupied, Submission, Submissions

__all__ = ["Keyed", "NewRows", "Occupied", "Submission", "Submissions", "act", "inputs_of_spec", "new_rows", "submit"]
