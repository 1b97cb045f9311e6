"""The target database: PostgreSQL through asyncpg; the SQL is in ``sql/``."""
