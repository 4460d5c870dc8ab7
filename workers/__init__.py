"""The work: one stage a module, plain functions and small classes; no broker in any signature."""
