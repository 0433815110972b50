"""Networks that act: action distributions, multilayer perceptrons, policies with a memory."""
