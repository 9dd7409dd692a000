"""What a frame's patches mean: CLIP features of a teacher, and their cache."""
