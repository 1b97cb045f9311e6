"""The ``verify`` command: compares migrated submissions with their tables and blobs."""
