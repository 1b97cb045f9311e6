-- Statements of the command check (specification §5). They change nothing.

-- name: server_facts
SELECT current_setting('server_version_num')::int AS number,
    current_setting('server_version') AS version,
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'on' AS read_only;

-- name: server_tls
-- The TLS version, null without encryption; and whether client and server are one machine.
SELECT CASE WHEN s.ssl THEN s.version END AS protocol,
    coalesce(inet_server_addr() = inet_client_addr(), true) AS local
FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid();

-- name: server_clock
SELECT clock_timestamp() AS now;

-- name: table_privileges
-- Missing rights on whole tables; grants on single columns do not count.
SELECT t.name AS table_name, t.privilege
FROM unnest(:tables::text[], :privileges::text[]) AS t (name, privilege)
WHERE NOT has_table_privilege(to_regclass(t.name), t.privilege);

-- name: tables_without_key
-- ON CONFLICT does not accept a deferrable, partial or invalid index.
SELECT t.name AS table_name
FROM unnest(:tables::text[]) AS t (name)
WHERE NOT EXISTS (
    SELECT FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(t.name) AND a.attname = 'launch_id'
      AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indnkeyatts = 1 AND i.indpred IS NULL
);

-- name: reference_counts
SELECT
    (SELECT count(*) FROM assessments) AS assessments,
    (SELECT count(*) FROM assessments WHERE lower(trim(is_active)) = 'true') AS active,
    (SELECT count(*) FROM assessment_sections) AS sections;

-- name: some_assessment
-- An assessment with a section, if there is one.
SELECT a.id, a.name, a.code, s.id AS section_id, s.question_text
FROM assessments a
LEFT JOIN assessment_sections s ON s.assessment_id = a.id
ORDER BY s.id IS NULL
LIMIT 1;

-- name: connection_room
-- A limit of -1 means no limit; superusers have none.
SELECT
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0) AS allowed,
    (SELECT sum(numbackends)::int FROM pg_stat_database) AS used,
    CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END AS role_allowed,
    (SELECT count(*)::int FROM pg_stat_activity WHERE usesysid = r.oid) AS role_used,
    CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END AS database_allowed,
    (SELECT numbackends FROM pg_stat_database s WHERE s.datid = d.oid) AS database_used
FROM pg_roles r, pg_database d
WHERE r.rolname = session_user AND d.datname = current_database();

-- name: check_constraints_now
SET CONSTRAINTS ALL IMMEDIATE;
