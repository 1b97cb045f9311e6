-- Statements of the command check (specification §5). They change nothing.

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

-- name: key_of_launch_sessions
-- Planned, not executed. PostgreSQL finds the unique index for ON CONFLICT, also behind a view and
-- on a partitioned table, or fails with 42P10.
EXPLAIN INSERT INTO lti_launch_sessions (launch_id) VALUES (NULL)
ON CONFLICT (launch_id) DO NOTHING;

-- name: key_of_session_records
EXPLAIN INSERT INTO lti_session_records (launch_id) VALUES (NULL)
ON CONFLICT (launch_id) DO NOTHING;

-- name: reference_counts
SELECT
    (SELECT count(*) FROM assessments) AS assessments,
    (SELECT count(*) FROM assessments
        WHERE is_active::text ~* '^\s*(true|t|yes|y|on|1)\s*$') AS active,
    (SELECT count(*) FROM assessment_sections) AS sections;

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
