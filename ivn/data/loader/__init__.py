"""Makes batches, in processes beside the one that trains."""
