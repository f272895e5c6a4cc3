"""The steps by which a store of any age becomes one of today's; run whenever a store is opened."""
