"""Rate-distortion benchmark: nvcodec beside x264, x265, AV1, VVC and its own HNeRV baseline, on the same frames."""
