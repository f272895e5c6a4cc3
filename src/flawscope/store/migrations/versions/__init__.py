"""One file a step, in the order that each one's `down_revision` tells."""
