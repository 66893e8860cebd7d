"""Measure adaptation beside its peers, each in a process of its own, taking turns in one run."""
