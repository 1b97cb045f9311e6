-- What is asked after a run: whose blobs are referred to, and who else may be about to write.

-- name: referenced_blobs
-- Any row at all keeps a blob, whoever wrote it and however it names it. Without an index that
-- would help, each join is one scan of the table for thousands of names.
WITH candidate AS (
    SELECT c.name, c.url FROM unnest(:names::text[], :urls::text[]) AS c (name, url)
)
SELECT c.name FROM candidate c JOIN submission_files f ON f.azure_blob_name = c.name
UNION
SELECT c.name FROM candidate c JOIN submission_files f ON f.azure_blob_url = c.url
UNION
SELECT c.name FROM candidate c JOIN submission_files f ON f.file_url = c.url;

-- name: run_sessions
-- A run that lost its lock while it was stalled may still have sessions to write with.
SELECT count(*) AS count, min(backend_start) AS since
FROM pg_stat_activity
WHERE datname = current_database() AND application_name = :name::text
  AND pid <> pg_backend_pid();
