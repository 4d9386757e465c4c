"""What an encoder is evaluated by, a module a task."""
