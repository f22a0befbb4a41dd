"""Runs: from a message to recorded events, whether or not somebody is watching."""
