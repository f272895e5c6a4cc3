"""Photographs: reading and writing them, canvases for the graph, tiles, regions and overlays."""
