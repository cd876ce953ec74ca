"""The engine, which trains any task and knows no task by name."""
