"""What ends the set-up."""


class SetupFailed(Exception):
    """Raised when the set-up cannot go on; the message is for people and says what would help."""
