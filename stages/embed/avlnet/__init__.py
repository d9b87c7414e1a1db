"""AVLnet as an encoder: it is given cached features instead of media."""
