"""Adaptation curves on held-out tasks, and their statistics."""
