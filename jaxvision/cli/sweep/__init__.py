"""The command `sweep`: better settings by a search over config fields."""
