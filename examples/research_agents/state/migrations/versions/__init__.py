"""One file per revision, the oldest first. A released one is never changed."""
