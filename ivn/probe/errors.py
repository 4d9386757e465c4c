"""What is wrong with a probe's input."""


class ProbeError(ValueError):
    """Data, labels, features or a head cannot be used; the message says what to do, in a line."""


class ProbeRequestError(ProbeError):
    """What is asked for makes no sense, whatever the data."""
