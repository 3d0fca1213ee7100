"""A network as one client sees it: initial weights, layout, masks, personal parts, scores."""
