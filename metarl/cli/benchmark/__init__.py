"""`metarl benchmark`: what is measured, how, and against which limits of the machine."""
