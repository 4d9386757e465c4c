"""``ivn data index``: what there is in folders, lists and tars, as the rows of a manifest."""
