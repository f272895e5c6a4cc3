"""The station's memory: a database of inspections, reviews, people and an audit log, and image files."""
