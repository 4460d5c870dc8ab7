"""From evidence to an answer: prompts, extractive wording, grounding, the thread in which a model writes."""
