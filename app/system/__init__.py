"""What the service is doing, and what it is: the queue, its workers, versions, and names by id."""
