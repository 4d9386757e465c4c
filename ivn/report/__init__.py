"""Reports on runs: a page, contact sheets, and what both are drawn with."""
