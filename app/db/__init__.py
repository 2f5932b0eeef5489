"""The database: rows, engine, clock, migrations. Who may change what is the business of `app.queue`."""
