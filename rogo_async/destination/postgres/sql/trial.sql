-- Statements of the trial insert, which is rolled back. They change nothing.

-- name: server_facts
SELECT current_setting('server_version_num')::int AS number,
    current_setting('server_version') AS version,
    current_setting('server_encoding') AS encoding,
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'on' AS read_only;

-- name: some_assessment
-- An assessment with a section, if there is one.
SELECT a.id, a.name, a.code, s.id AS section_id, s.question_text
FROM assessments a
LEFT JOIN assessment_sections s ON s.assessment_id = a.id
ORDER BY s.id IS NULL
LIMIT 1;

-- name: check_constraints_now
SET CONSTRAINTS ALL IMMEDIATE;

-- name: count_submission_rows
-- The rows of the submission that are there after all triggers have run.
SELECT table_name, found, expected FROM (VALUES
    ('lti_launch_sessions', 1, (
        SELECT count(*) FROM lti_launch_sessions WHERE launch_id = :launch_id::text)),
    ('lti_session_records', 1, (
        SELECT count(*) FROM lti_session_records WHERE launch_id = :launch_id::text)),
    ('assignment_submissions', 1, (
        SELECT count(*) FROM assignment_submissions WHERE id = :submission_id::text)),
    ('submission_files', cardinality(:file_ids::text[]), (
        SELECT count(*) FROM submission_files WHERE id = ANY (:file_ids::text[]))),
    ('submission_marking_assignments', 1, (
        SELECT count(*) FROM submission_marking_assignments WHERE id = :marking_id::text)),
    ('submission_section_marks', cardinality(:mark_ids::text[]), (
        SELECT count(*) FROM submission_section_marks WHERE id = ANY (:mark_ids::text[]))),
    ('submission_grades', 1, (
        SELECT count(*) FROM submission_grades WHERE id = :grade_id::text))
) AS counted (table_name, expected, found);

-- name: length_limits
-- The columns of type varchar(n) and char(n).
SELECT t.name AS table_name, a.attname::text AS column_name, a.atttypmod - 4 AS length
FROM unnest(:tables::text[]) AS t (name)
JOIN pg_attribute a ON a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped
WHERE a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4;

-- name: constraint_columns
-- The columns of a table's constraint, or all columns with the type of a domain's constraint.
SELECT a.attname::text AS column_name
FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
WHERE c.conname = :constraint::text
  AND c.conrelid = to_regclass(quote_ident(:schema::text) || '.' || quote_ident(:table::text))
UNION
SELECT a.attname::text
FROM unnest(:tables::text[]) AS t (name)
JOIN pg_attribute a ON a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped
WHERE a.atttypid = to_regtype(quote_ident(:schema::text) || '.' || quote_ident(:domain::text));
