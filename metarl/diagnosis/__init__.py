"""Findings about a trained run."""
