"""`metarl play`: a page in the browser where a trained policy adapts to a task that is set by hand."""
