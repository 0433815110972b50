"""What meta-learning is to be measured against: ordinary reinforcement learning, and the way to and from it."""
