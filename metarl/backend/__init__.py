"""What everything stands on: processes, recorded functions, files, signals, threads, errors."""
