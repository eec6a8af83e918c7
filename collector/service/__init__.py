"""The long-running process: schedule, sources, signals, watchdog."""
