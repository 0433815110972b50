"""Physics engines behind one seam: state in, state out. MuJoCo is imported when an engine is made."""
