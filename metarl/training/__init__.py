"""Configurations, presets, run folders and the training loop."""
