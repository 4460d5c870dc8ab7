"""Decoding apart: processes with limits, which read what others sent, so that nothing of it is read in a worker."""
