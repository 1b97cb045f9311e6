"""The rules of the specification as pure functions over frozen records."""
