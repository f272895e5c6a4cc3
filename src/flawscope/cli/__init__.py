"""The command line: one file per command; heavy imports stand inside the command."""
