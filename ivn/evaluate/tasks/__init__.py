"""Tasks by which an encoder is evaluated, one module per task."""
