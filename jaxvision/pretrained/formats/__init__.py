"""One file per file format. Nothing in a file is ever executed."""
