-- Statements of the run lock, the schema check and the reference data (specification §1 and §5).

-- name: try_lock
SELECT pg_try_advisory_lock(:class::int, :object::int) AS locked;

-- name: try_lock_shared
SELECT pg_try_advisory_lock_shared(:class::int, :object::int) AS locked;

-- name: try_key
SELECT pg_try_advisory_lock(:key::bigint) AS locked;

-- name: try_key_shared
SELECT pg_try_advisory_lock_shared(:key::bigint) AS locked;

-- name: backend
SELECT pid, backend_start AS since FROM pg_stat_activity WHERE pid = pg_backend_pid();

-- name: end_session
-- Ends an earlier session of this run. The start tells it from a later process with the same id.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE pid = :pid::int AND backend_start = :since::timestamptz AND pid <> pg_backend_pid();

-- name: lock_holder
-- The session that holds the lock; its name and time are null without the right to see them.
SELECT l.pid, a.application_name AS name, a.backend_start AS since
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted
  AND l.classid = :class::int::oid AND l.objid = :object::int::oid AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LIMIT 1;

-- name: key_holder
-- Of a key of 64 bits, classid has the upper half and objid the lower one.
SELECT l.pid, a.application_name AS name, a.backend_start AS since
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND (l.classid::bigint << 32 | l.objid::bigint) = :key::bigint
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LIMIT 1;

-- name: holder_without_key
-- A session that holds the run lock and not this key.
SELECT l.pid, a.application_name AS name, a.backend_start AS since
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted
  AND l.classid = :class::int::oid AND l.objid = :object::int::oid AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND NOT EXISTS (
    SELECT FROM pg_locks k
    WHERE k.locktype = 'advisory' AND k.granted AND k.pid = l.pid AND k.objsubid = 1
      AND k.database = l.database
      AND (k.classid::bigint << 32 | k.objid::bigint) = :key::bigint)
LIMIT 1;

-- name: own_lock
SELECT count(*) AS held
FROM pg_locks
WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
  AND classid = :class::int::oid AND objid = :object::int::oid AND objsubid = 2;

-- name: columns
-- to_regclass follows the search path, like all statements here.
-- unfilled_columns: columns without a default that accept no NULL, unless a trigger before the
-- insert may fill them. generated_columns accept no value.
-- type_names: the types of column_names, without length; of a domain the type below it.
SELECT
    t.name AS table_name,
    array_agg(a.attname::text) FILTER (WHERE a.attname IS NOT NULL) AS column_names,
    array_agg(a.attname::text) FILTER (
        WHERE a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''
          AND NOT EXISTS (
            SELECT FROM pg_trigger g
            WHERE g.tgrelid = a.attrelid AND NOT g.tgisinternal AND g.tgtype & 7 = 7)
    ) AS unfilled_columns,
    array_agg(a.attname::text) FILTER (
        WHERE a.attgenerated <> '' OR a.attidentity = 'a'
    ) AS generated_columns,
    array_agg(format_type(coalesce(nullif(y.typbasetype, 0), y.oid), NULL)) FILTER (
        WHERE a.attname IS NOT NULL
    ) AS type_names
FROM unnest(:tables::text[]) AS t (name)
LEFT JOIN pg_attribute a
    ON a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type y ON y.oid = a.atttypid
GROUP BY t.name;

-- name: privileges
SELECT t.name AS table_name, t.privilege
FROM unnest(:tables::text[], :privileges::text[]) AS t (name, privilege)
WHERE NOT has_any_column_privilege(to_regclass(t.name), t.privilege);

-- name: tables_with_hidden_rows
-- Tables with row level security, unless a policy clearly shows all their rows to this user.
SELECT t.name AS table_name
FROM unnest(:tables::text[]) AS t (name)
CROSS JOIN LATERAL (
    SELECT
        bool_or(p.polpermissive AND pg_get_expr(p.polqual, p.polrelid) = 'true') AS shows_all,
        bool_or(NOT p.polpermissive AND pg_get_expr(p.polqual, p.polrelid) <> 'true') AS restricts
    FROM pg_policy p
    WHERE p.polrelid = to_regclass(t.name) AND p.polcmd IN ('r', '*')
      AND EXISTS (
        SELECT FROM unnest(p.polroles) AS r (id)
        WHERE CASE r.id WHEN 0 THEN true ELSE pg_has_role(r.id, 'USAGE') END)
) AS policy
WHERE row_security_active(to_regclass(t.name))
  AND (NOT coalesce(policy.shows_all, false) OR coalesce(policy.restricts, false));

-- name: text_of
-- A statement that reads all values of a column as text.
SELECT format('SELECT %I::text FROM %s', :column::text, to_regclass(:table::text)) AS statement;

-- name: assessments
-- is_active may be text, boolean or a number, here and below.
SELECT id, name, code,
    coalesce(is_active::text ~* '^\s*(true|t|yes|y|on|1)\s*$', false)
        AS is_active
FROM assessments ORDER BY id;

-- name: sections
SELECT id, assessment_id, question_text FROM assessment_sections ORDER BY id;

-- name: levels
SELECT id, level_text FROM malpractice_levels
WHERE is_active::text ~* '^\s*(true|t|yes|y|on|1)\s*$'
ORDER BY sort_order NULLS LAST, id;

-- name: oldest_admin
SELECT id FROM users WHERE role::text = 'admin' ORDER BY created_at NULLS LAST, id LIMIT 1;

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

-- name: instance_ids
-- Session records with our instance id and with others, and the most frequent other one. An
-- lms_user_id is "{instance id}::{user}"; one of another form says nothing.
SELECT
    coalesce(sum(found) FILTER (WHERE is_own), 0)::bigint AS own,
    coalesce(sum(found) FILTER (WHERE NOT is_own), 0)::bigint AS others,
    (array_agg(id ORDER BY found DESC, id) FILTER (WHERE NOT is_own))[1] AS other
FROM (
    SELECT split_part(lms_user_id::text, '::', 1) AS id,
        starts_with(lms_user_id::text, :own::text || '::') AS is_own, count(*) AS found
    FROM lti_session_records WHERE strpos(lms_user_id::text, '::') > 1
    GROUP BY 1, 2
) AS ids;

-- name: submissions_by_id
-- Those of these ids that exist. The ids of a run are derived from run id and attempt.
SELECT id, lti_launch_id AS launch_id, lti_session_record_id AS session_record_id,
    lms_user_id AS user_id, context_id
FROM assignment_submissions WHERE id = ANY(:ids::text[]);

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
