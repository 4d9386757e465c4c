"""What frozen features tell by linear readout."""
