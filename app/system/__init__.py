"""What the service is doing and what it is (the queue, its workers, versions, names by id), and what it deletes."""
