"""Several manifests made one, without copies."""
