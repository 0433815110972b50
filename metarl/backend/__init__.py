"""What everything else builds on: processes, CUDA graphs, files, signals, threads, errors."""
