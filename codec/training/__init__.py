"""One training: a network overfitted to the frames of one segment."""
