"""The destination container: upload, list, read back and delete blobs."""
