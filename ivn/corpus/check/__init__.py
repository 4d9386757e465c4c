"""``ivn data check``: which videos of a manifest can be decoded, and why the others cannot."""
