"""Where things are kept: vectors in Milvus, media in the blob store."""
