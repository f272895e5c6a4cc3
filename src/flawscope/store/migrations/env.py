"""Alembic's entry: runs the steps on the connection that `Database` hands over."""

from __future__ import annotations

from alembic import context

from flawscope.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
