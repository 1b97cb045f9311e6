"""Reads and writes the target database: PostgreSQL through asyncpg, SQL statements in ``sql/``."""
