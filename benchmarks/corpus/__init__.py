"""What data commands find."""
