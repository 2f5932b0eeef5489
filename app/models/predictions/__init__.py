"""`POST /v1/models/{id}/predict`: rows to a worker, answers back."""
