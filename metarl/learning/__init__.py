"""What algorithms are made of: rollouts, advantages, losses, derivatives, trust-region steps."""
