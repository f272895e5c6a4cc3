"""The work behind the commands: train, inspect, evaluate, export."""
