"""What Alembic runs for every command; the connection and its transaction are the caller's."""

from alembic import context

from examples.research_agents.state.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite's too, where the transaction was begun by us and not by the driver
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
