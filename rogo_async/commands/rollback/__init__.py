"""The ``rollback`` command: deletes what a run or an attempt migrated."""
