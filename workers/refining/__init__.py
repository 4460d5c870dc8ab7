"""From ranked chunks to evidence: the piece of each chunk that answers, without repetition, within a budget."""
