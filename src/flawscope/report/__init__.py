"""What people read: one self-contained page, tables, sheets."""
