"""From what a user calls the place of pictures to these, one after the other."""
