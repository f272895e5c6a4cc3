"""What runs on the line: backbone, bundle, session, inspector."""
