"""Schedules: from a naive nest to one for a machine, by small steps that keep the meaning."""
