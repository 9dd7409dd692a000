"""Floats <-> integers, and what the integers cost in bits."""
