"""The queue: jobs, their leases and everything that changes when a job does. `ledger.Ledger` is the door."""
