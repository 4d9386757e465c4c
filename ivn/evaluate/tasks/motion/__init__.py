"""The motion of a camera over generated clips, by a linear readout of frozen features."""
