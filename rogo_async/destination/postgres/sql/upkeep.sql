-- Statements of sweep and rollback: blobs in use, and runs that may still write.

-- name: referenced_blobs
-- Any row keeps its blob, whichever tool wrote it, and by name or by URL. Without an index each
-- join is one scan of the table for thousands of names.
WITH candidate AS (
    SELECT c.name, c.url FROM unnest(:names::text[], :urls::text[]) AS c (name, url)
)
SELECT c.name FROM candidate c JOIN submission_files f ON f.azure_blob_name = c.name
UNION
SELECT c.name FROM candidate c JOIN submission_files f ON f.azure_blob_url = c.url
UNION
SELECT c.name FROM candidate c JOIN submission_files f ON f.file_url = c.url;

-- name: run_sessions
-- A run that stalled and lost its lock may still have sessions that can write.
SELECT count(*) AS count, min(backend_start) AS since
FROM pg_stat_activity
WHERE datname = current_database()
  AND (application_name = :name::text OR starts_with(application_name, :of_shard::text))
  AND pid <> pg_backend_pid();
