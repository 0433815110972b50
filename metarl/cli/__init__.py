"""The command `metarl`: a module for each verb, and what they share. A mistake of the user ends in one sentence."""
