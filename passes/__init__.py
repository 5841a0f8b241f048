"""Rewrites of graphs, from simplification to fusion, and schedules from groups to loop nests."""
