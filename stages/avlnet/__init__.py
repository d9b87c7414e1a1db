"""AVLnet (arXiv 2006.09199): networks, items and loss, which training and embedding share."""
