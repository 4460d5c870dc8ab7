"""Faults on real parts, and an oracle that knows only what was published and what is found: ``make faults``."""
