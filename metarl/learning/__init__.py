"""What algorithms are built from: rollouts, advantages, losses, derivatives, trust-region steps."""
