"""Jobs: submitted, watched, stopped; their events, metrics, reports and files."""
