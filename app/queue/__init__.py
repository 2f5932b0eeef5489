"""The queue: jobs, their leases, and everything that changes together with a job. Use it through `ledger.Ledger`."""
