"""Contact sheets of samples as training sees them."""
