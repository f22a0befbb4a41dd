"""What the application remembers: sessions, messages, runs and their events, documents. One database, any worker.

Nothing is kept in a module: a `Database` is made by whoever starts the application, and the repositories
(`Sessions`, `Runs`, `Documents`) are given it.
"""
