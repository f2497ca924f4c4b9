"""From anything that a user calls an image to RGB uint8."""
