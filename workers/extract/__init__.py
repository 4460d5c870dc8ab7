"""The extract stage: media in, chunks with their features out. One reader a kind of media."""
