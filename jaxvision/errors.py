"""The one exception that a person caused and can mend."""


class UserError(ValueError):
    """A mistake in a config, a path or a file; the commands print it as one line and exit 2."""
