"""How anything is measured and its results are shown."""
