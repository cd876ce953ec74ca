"""One file per family: its published names, and their names here."""
