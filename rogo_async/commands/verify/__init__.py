"""The ``verify`` command: compares migrated submissions with their rows and blobs."""
