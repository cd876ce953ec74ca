"""Code that several tasks use. This folder is not a task."""
