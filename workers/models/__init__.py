"""Encoders, recognisers and generators: one capability a file, each profile's implementation in it."""
