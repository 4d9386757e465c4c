"""The probe of camera motion: made clips, their features and the task."""
