"""Parts that several tasks share; not a task."""
