"""Meta-World's meta-learning benchmarks."""

from envs.extras.metaworld.benchmarks import family as family
from envs.extras.metaworld.benchmarks import names as names
