"""What skiqa raises and warns."""

__all__ = ["ImageError"]


class ImageError(ValueError):
    """An image that cannot be read, decoded or fitted into memory.

    The message names the file (or what stood in its place), its index in X and what to do.
    A ``ValueError``, so code that only knows scikit-learn's exceptions keeps working.

    Parameters
    ----------
    message : str
    kind : str, default="unreadable"
        See the attribute.
    reason : str or None, default=None
        See the attribute; None is the message.

    Attributes
    ----------
    kind : {"missing", "unreadable", "format", "damaged", "too_large"}
        "missing": there is no such file, or a gap in X. "unreadable": a folder, a pipe, no
        permission, a failing disk. "format": no picture, or of a kind that cannot be decoded here.
        "damaged": cut off, overwritten or empty. "too_large": for the memory, or to be safe.
    reason : str
        What is wrong, in a few words: without file, index and advice.

    Examples
    --------
    >>> from skiqa.exceptions import ImageError
    >>> issubclass(ImageError, ValueError)
    True
    >>> ImageError("X[3] = 'a.jpg': the file is empty", reason="the file is empty").kind
    'unreadable'
    """

    def __init__(self, message: str, *, kind: str = "unreadable", reason: str | None = None):
        super().__init__(message)
        self.kind = kind
        self.reason = message if reason is None else reason
