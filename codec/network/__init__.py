"""What a decoder runs: the network, its blocks and embeddings, and where it runs."""
