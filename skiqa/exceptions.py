"""What skiqa raises and warns."""

__all__ = ["ImageError"]


class ImageError(ValueError):
    """An image that cannot be read, decoded or fitted into memory.

    The message names the file (or what stood in its place), its index in X and what to do.
    A ``ValueError``, so code that only knows scikit-learn's exceptions keeps working.

    Examples
    --------
    >>> from skiqa.exceptions import ImageError
    >>> issubclass(ImageError, ValueError)
    True
    """
