"""``ivn embed``: features of videos of any length, in one file."""
