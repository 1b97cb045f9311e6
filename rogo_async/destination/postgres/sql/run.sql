-- Statements of the run lock, the schema check and the reference data (specification §1 and §5).

-- name: try_lock
SELECT pg_try_advisory_lock(:class::int, :object::int) AS locked;

-- name: backend
SELECT pg_backend_pid() AS pid;

-- name: lock_holder
-- The session that holds the lock; its name and time are null without the right to see them.
SELECT a.application_name AS name, a.backend_start AS since
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted
  AND l.classid = :class::int::oid AND l.objid = :object::int::oid AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LIMIT 1;

-- name: own_lock
SELECT count(*) AS held
FROM pg_locks
WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
  AND classid = :class::int::oid AND objid = :object::int::oid AND objsubid = 2;

-- name: columns
-- to_regclass follows the search path, like all statements here.
-- unfilled_columns: columns without a default that accept no NULL.
SELECT
    t.name AS table_name,
    array_agg(a.attname::text) FILTER (WHERE a.attname IS NOT NULL) AS column_names,
    array_agg(a.attname::text) FILTER (
        WHERE a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''
    ) AS unfilled_columns
FROM unnest(:tables::text[]) AS t (name)
LEFT JOIN pg_attribute a
    ON a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY t.name;

-- name: privileges
SELECT t.name AS table_name, t.privilege
FROM unnest(:tables::text[], :privileges::text[]) AS t (name, privilege)
WHERE NOT has_any_column_privilege(to_regclass(t.name), t.privilege);

-- name: assessments
SELECT id, name, code, is_active FROM assessments ORDER BY id;

-- name: sections
SELECT id, assessment_id, question_text FROM assessment_sections ORDER BY id;

-- name: levels
SELECT id, level_text FROM malpractice_levels
WHERE lower(trim(is_active)) = 'true' ORDER BY sort_order NULLS LAST, id;

-- name: oldest_admin
SELECT id FROM users WHERE role = 'admin' ORDER BY created_at NULLS LAST, id LIMIT 1;

-- name: user_by_id
SELECT id FROM users WHERE id = :id::text;

-- name: existing_attempts
-- All attempts in the target, from this tool or another one. A launch id is compared as a number,
-- so attempt 1 does not match rogo_12_x or rogo_1x_2.
SELECT attempt::bigint AS attempt, has_submission FROM (
    SELECT substring(lti_launch_id from '^rogo_0*([0-9]{1,10})_') AS attempt, true AS has_submission
    FROM assignment_submissions
    UNION ALL
    SELECT substring(launch_id from '^rogo_0*([0-9]{1,10})_'), false FROM lti_launch_sessions
    UNION ALL
    SELECT substring(launch_id from '^rogo_0*([0-9]{1,10})_'), false FROM lti_session_records
) AS trace
WHERE attempt IS NOT NULL;

-- name: migrated_rows
SELECT
    substring(lti_launch_id from '^rogo_0*([0-9]+)_') AS "Attempt ID",
    lti_launch_id AS "Launch ID",
    id AS "Submission ID",
    lti_session_record_id AS "Session Record ID",
    lms_user_id AS "User ID",
    context_id AS "LTI Context ID"
FROM assignment_submissions
WHERE lti_launch_id ~ '^rogo_[0-9]+_';
