"""What is learned: one file a task, each with `DEFAULTS`, `describe` and `make`."""
