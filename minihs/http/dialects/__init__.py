"""Generations of futures: one module each, and `table`, which says who answers what they share."""
