"""Training by contrast: schedule, trainer, loop, and what lets it go on."""
