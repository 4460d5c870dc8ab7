"""Few-shot examples, one file a form of prompt; what is asked follows them."""
