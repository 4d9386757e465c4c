"""Videos packed into tars that are read from beginning to end, or by the place of each."""
