"""Alembic's environment; `state.migration` runs it."""
