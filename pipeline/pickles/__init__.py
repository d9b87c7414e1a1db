"""Published pickles, read without running what they may name: arrays, tensors, lists of items, the clips of AVLnet."""
