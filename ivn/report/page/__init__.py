"""The content of a page as one HTML file."""
