-- Statements of the command rollback (specification §5).

-- name: migrated_launch_ids
-- The submission and session of each launch id that marks an attempt as migrated. A run writes
-- each submission in a transaction of its own. shares_transaction: two submissions have the same
-- xmin, so both were rewritten after the run.
SELECT mark.launch_id, s.id AS submission_id, r.id AS session_id, s.lms_user_id,
    s.custom_assessment_code AS assessment_code, s.context_id,
    count(s.id) OVER (PARTITION BY s.xmin::text) > 1 AS shares_transaction
FROM (
    SELECT lti_launch_id::text AS launch_id FROM assignment_submissions
    UNION
    SELECT launch_id FROM lti_launch_sessions
    UNION
    SELECT launch_id FROM lti_session_records
) AS mark
LEFT JOIN assignment_submissions s ON s.lti_launch_id = mark.launch_id
LEFT JOIN lti_session_records r ON r.launch_id = mark.launch_id
WHERE mark.launch_id ~ '^rogo_[0-9]+_';

-- name: count_files_and_rules
-- Numbers for the question to the operator.
SELECT
    (SELECT count(*) FROM submission_files f WHERE f.submission_id = ANY (:ids::text[])) AS files,
    (SELECT count(*) FROM malpractice_enforcements e WHERE e.submission_id = ANY (:ids::text[]))
        AS rules;

-- name: missing_delete_rights
SELECT t.name FROM unnest(:tables::text[]) AS t (name)
WHERE NOT has_table_privilege(to_regclass(t.name), 'DELETE');

-- name: foreign_keys
-- The foreign keys to these tables, except those that this tool fills; each with a statement that
-- finds a row which refers through it to one of the rows $1.
SELECT c.conrelid::regclass::text AS table_name,
    has_table_privilege(c.conrelid, 'SELECT') AS readable,
    format(
        'SELECT %L::text AS table_name WHERE EXISTS (SELECT FROM %s r JOIN %s t ON %s '
        'WHERE t.id = ANY ($1::text[]))',
        c.conrelid::regclass, c.conrelid::regclass, c.confrelid::regclass, string_agg(
            format('r.%I = t.%I', f.attname, p.attname), ' AND '
        )
    ) AS question
FROM pg_constraint c
CROSS JOIN unnest(c.conkey, c.confkey) AS k (referring, referred)
JOIN pg_attribute f ON f.attrelid = c.conrelid AND f.attnum = k.referring
JOIN pg_attribute p ON p.attrelid = c.confrelid AND p.attnum = k.referred
WHERE c.contype = 'f' AND c.conparentid = 0
  AND c.confrelid IN (SELECT to_regclass(t.name) FROM unnest(:tables::text[]) AS t (name))
GROUP BY c.oid, c.conrelid, c.confrelid
HAVING NOT EXISTS (
    SELECT FROM unnest(:own_tables::text[], :own_columns::text[]) AS o (name, referring)
    WHERE to_regclass(o.name) = c.conrelid AND array_agg(f.attname::text) = ARRAY[o.referring]
)
ORDER BY 1, 3;

-- name: lock_key
-- A session lock, since the transaction must take its snapshot after the lock.
SELECT pg_advisory_lock(:key::bigint);

-- name: unlock_key
SELECT pg_advisory_unlock(:key::bigint);

-- name: rows_of_submission
-- All rows of a submission, and the transaction that wrote each.
SELECT 'assignment_submissions' AS table_name, id, xmin::text AS written_by, file_count
FROM assignment_submissions
WHERE id = :submission_id::text OR lti_launch_id = :launch_id::text
   OR lti_session_record_id = :session_id::text
UNION ALL
SELECT 'lti_launch_sessions', id, xmin::text, NULL FROM lti_launch_sessions
WHERE launch_id = :launch_id::text
UNION ALL
SELECT 'lti_session_records', id, xmin::text, NULL FROM lti_session_records
WHERE launch_id = :launch_id::text
UNION ALL
SELECT 'submission_files', id, xmin::text, NULL FROM submission_files
WHERE submission_id = :submission_id::text
UNION ALL
SELECT 'submission_marking_assignments', id, xmin::text, NULL
FROM submission_marking_assignments WHERE submission_id = :submission_id::text
UNION ALL
SELECT 'submission_section_marks', id, xmin::text, NULL FROM submission_section_marks
WHERE submission_id = :submission_id::text
UNION ALL
SELECT 'submission_grades', id, xmin::text, NULL FROM submission_grades
WHERE submission_id = :submission_id::text;

-- name: malpractice_rules_of_key
-- The malpractice rules of a submission's key, and all others that name the submission.
SELECT e.id, e.submission_id, e.attempt_number, e.enforced_max_attempts,
    e.xmin::text AS written_by, to_jsonb(e)::text AS content, s.lti_launch_id AS launch_id
FROM malpractice_enforcements e
LEFT JOIN assignment_submissions s ON s.id = e.submission_id
WHERE e.submission_id = :submission_id::text
   OR (e.lms_user_id = :lms_user_id::text AND e.context_id = :context_id::text
       AND e.custom_assessment_code = :assessment_code::text)
ORDER BY e.id;

-- name: rule_candidates_of_key
-- The other submissions with malpractice that have the same key, of any tool.
SELECT s.id, s.lti_launch_id AS launch_id, s.attempt_number, s.context_title,
    g.malpractice_notes AS notes, l.id AS level_id, l.level_text
FROM assignment_submissions s
JOIN submission_grades g ON g.submission_id = s.id
JOIN malpractice_levels l ON l.id = g.malpractice_level_id
WHERE s.lms_user_id = :lms_user_id::text AND s.context_id = :context_id::text
  AND s.custom_assessment_code = :assessment_code::text
  AND s.id <> :submission_id::text
ORDER BY s.id;

-- name: launch_ids
SELECT id, lti_launch_id AS launch_id FROM assignment_submissions WHERE id = ANY (:ids::text[]);

-- name: restore_statement
-- A statement that sets all columns of the row $1 to the values in the JSON object $2.
SELECT format(
    'UPDATE malpractice_enforcements e SET (%s) = '
    '(SELECT %s FROM jsonb_populate_record(e, $2::jsonb) v) WHERE e.id = $1::text RETURNING id',
    string_agg(format('%I', attname), ', ' ORDER BY attnum),
    string_agg(format('v.%I', attname), ', ' ORDER BY attnum)
) AS statement
FROM pg_attribute
WHERE attrelid = to_regclass('malpractice_enforcements') AND attnum > 0 AND NOT attisdropped
  AND attgenerated = '' AND attidentity <> 'a';

-- name: malpractice_rule_content
SELECT to_jsonb(e)::text AS content FROM malpractice_enforcements e
WHERE e.id = :enforcement_id::text;

-- name: delete_malpractice_rule
DELETE FROM malpractice_enforcements WHERE id = :enforcement_id::text RETURNING id;

-- name: delete_submission
-- PostgreSQL checks the foreign keys between these tables at the end of the statement. The result
-- counts the deleted rows: a trigger may keep some without an error.
WITH files AS (
    DELETE FROM submission_files WHERE id = ANY (:ids::text[]) RETURNING id
), markings AS (
    DELETE FROM submission_marking_assignments WHERE id = ANY (:ids::text[]) RETURNING id
), marks AS (
    DELETE FROM submission_section_marks WHERE id = ANY (:ids::text[]) RETURNING id
), grades AS (
    DELETE FROM submission_grades WHERE id = ANY (:ids::text[]) RETURNING id
), submissions AS (
    DELETE FROM assignment_submissions WHERE id = ANY (:ids::text[]) RETURNING id
), sessions AS (
    DELETE FROM lti_session_records WHERE id = ANY (:ids::text[]) RETURNING id
), launches AS (
    DELETE FROM lti_launch_sessions WHERE id = ANY (:ids::text[]) RETURNING id
)
SELECT table_name, count(*) AS deleted FROM (
    SELECT 'submission_files' AS table_name FROM files
    UNION ALL SELECT 'submission_marking_assignments' FROM markings
    UNION ALL SELECT 'submission_section_marks' FROM marks
    UNION ALL SELECT 'submission_grades' FROM grades
    UNION ALL SELECT 'assignment_submissions' FROM submissions
    UNION ALL SELECT 'lti_session_records' FROM sessions
    UNION ALL SELECT 'lti_launch_sessions' FROM launches
) AS gone
GROUP BY table_name;
