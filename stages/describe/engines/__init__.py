"""What answers: an endpoint over the network, or a model on this machine."""
