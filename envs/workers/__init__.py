"""Other people's environments as families of tasks: any Gymnasium environment, stepped in worker processes."""

from envs.workers.family import from_gymnasium as from_gymnasium
