"""A contact sheet: samples as the trainer will see them."""
