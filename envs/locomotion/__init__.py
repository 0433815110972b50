"""Locomotion in MuJoCo with a hidden goal, or a hidden body: one file a family of tasks."""
