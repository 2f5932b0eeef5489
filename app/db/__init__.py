"""The database: rows, engine, clock, migrations. `app.queue` decides who may change what."""
