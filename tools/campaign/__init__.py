"""A hostile day: kills, full disks, threads and fuzzed inputs, by one command (`just campaign`)."""
