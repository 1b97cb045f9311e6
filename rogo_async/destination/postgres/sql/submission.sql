-- Writes a submission and its malpractice rule (specification §2, rules 13 and 15).

-- name: insert_submission
-- All rows of a submission in one statement. Each part selects from the rows that the part before
-- it returned, so a launch id that exists already makes the statement write nothing.
-- Returns a row if all rows of the submission were inserted, and no row if the launch id exists.
-- Otherwise a trigger of the platform has dropped rows: the last cast fails on purpose, so nothing
-- is committed, and connections.py reads the counts from the error.
-- Labels of enum types are literals, so a label that does not exist fails without any value of a
-- row. :custom_params has no cast, since its column may be text or json.
WITH launch AS (
    INSERT INTO lti_launch_sessions (
        launch_id, consumer_key, user_id, user_email, user_name, course_name, return_url,
        resource_link_id, context_id, tool_consumer_instance_guid, custom_params,
        lti_message_type, context_type, context_title, roles, lis_person_name_given,
        lis_person_name_family, lis_person_name_full, lis_person_contact_email_primary,
        tool_consumer_instance_name, custom_action, assignment_title, custom_instruction_set,
        custom_assessment_code, created_at, expires_at)
    VALUES (
        :launch_id::text, :consumer_key::text, :lms_user_id::text, :email::text,
        :full_name::text, :course_name::text, :return_url::text, NULL, :context_id::text,
        :instance_id::text, :custom_params, :lti_message_type::text, :context_type::text,
        :context_title::text, :role::text, :first_name::text, :last_name::text,
        :full_name::text, :email::text, :consumer_name::text, :custom_action::text,
        :assignment_title::text, :instruction_set::text, :assessment_code::text,
        :created_at::timestamptz, :never::timestamptz)
    ON CONFLICT (launch_id) DO NOTHING
    RETURNING launch_id
), session AS (
    INSERT INTO lti_session_records (
        id, launch_id, lms_user_id, consumer_name, role, first_name, last_name, full_name,
        email, custom_action, custom_instruction_set, custom_assessment_code, context_type,
        context_title, resource_link_id, resource_link_title, context_id, consumer_key,
        tool_consumer_instance_guid, return_url, has_file_submission, session_expiry, created_at)
    SELECT
        :session_record_id::text, launch.launch_id, :lms_user_id::text, :consumer_name::text,
        :role::text, :first_name::text, :last_name::text, :full_name::text, :email::text,
        :custom_action::text, :instruction_set::text, :assessment_code::text,
        :context_type::text, :context_title::text, NULL, :context_title::text,
        :context_id::text, :consumer_key::text, :instance_id::text, :return_url::text,
        'true', :never::timestamptz, :created_at::timestamptz
    FROM launch
    RETURNING id, launch_id
), submission AS (
    INSERT INTO assignment_submissions (
        id, lti_session_record_id, lti_launch_id, file_count, total_file_size, submitted_at,
        attempt_number, lms_user_id, consumer_name, role, first_name, last_name, full_name,
        email, custom_instruction_set, custom_assessment_code, custom_action, context_type,
        context_title, context_id, created_at, updated_at)
    SELECT
        :submission_id::text, session.id, session.launch_id, :file_count::int,
        :total_file_size::text, :effective_at::timestamptz, :attempt_number::int,
        :lms_user_id::text, :consumer_name::text, :role::text, :first_name::text,
        :last_name::text, :full_name::text, :email::text, :instruction_set::text,
        :assessment_code::text, :custom_action::text, :context_type::text,
        :context_title::text, :context_id::text, :created_at::timestamptz,
        :updated_at::timestamptz
    FROM session
    RETURNING id
), files AS (
    INSERT INTO submission_files (
        id, submission_id, file_name, original_file_name, file_size, file_type, file_mime_type,
        file_url, azure_blob_url, azure_container_name, azure_blob_name, upload_order,
        uploaded_at, submission_file_type, uploaded_by, turnitin_status)
    SELECT
        f.id, submission.id, f.name, f.name, f.size, f.extension, f.mime_type, f.url, f.url,
        :container::text, f.blob_name, f.upload_order, :effective_at::timestamptz,
        CASE f.kind
            WHEN 'submission' THEN 'submission'::submission_file_type
            ELSE 'feedback'::submission_file_type
        END,
        CASE f.kind WHEN 'submission' THEN :uploaded_by::text END,
        CASE f.kind WHEN 'submission' THEN 'complete' ELSE 'pending' END
    FROM submission, unnest(
        :file_ids::text[], :file_names::text[], :file_sizes::text[], :file_extensions::text[],
        :file_mime_types::text[], :file_urls::text[], :file_blob_names::text[],
        :file_orders::int[], :file_kinds::text[]
    ) AS f (id, name, size, extension, mime_type, url, blob_name, upload_order, kind)
    RETURNING 1
), marking AS (
    INSERT INTO submission_marking_assignments (
        id, submission_id, assigned_marker_id, marking_status, assigned_at, status_updated_at,
        status_updated_by, created_at, updated_at)
    SELECT
        :marking_id::text, submission.id, NULL, 'released'::marking_status, now(),
        :effective_at::timestamptz, NULL, :created_at::timestamptz, :updated_at::timestamptz
    FROM submission
    RETURNING 1
), marks AS (
    INSERT INTO submission_section_marks (
        id, submission_id, section_id, marker_id, feedback, marks_awarded, created_at,
        updated_at)
    SELECT
        m.id, submission.id, m.section_id, NULL, m.feedback, m.awarded, m.created_at,
        m.updated_at
    FROM submission, unnest(
        :mark_ids::text[], :mark_sections::text[], :mark_feedback::text[],
        :mark_awarded::real[], :mark_created::timestamptz[], :mark_updated::timestamptz[]
    ) AS m (id, section_id, feedback, awarded, created_at, updated_at)
    RETURNING 1
), grade AS (
    INSERT INTO submission_grades (
        id, submission_id, assessment_id, marker_id, total_marks_awarded, total_marks_possible,
        percentage_score, final_grade, overall_summary, malpractice_level_id, malpractice_notes,
        is_complete, completed_at, created_at, updated_at)
    SELECT
        :grade_id::text, submission.id, :assessment_id::text, NULL, :marks_awarded::real,
        :marks_possible::real, :percentage::real, :final_grade::text, :overall_summary::text,
        :malpractice_level_id::text, :malpractice_notes::text, true, :effective_at::timestamptz,
        :created_at::timestamptz, :updated_at::timestamptz
    FROM submission
    RETURNING 1
), counted AS (
    SELECT
        ARRAY[
            (SELECT count(*) FROM launch), (SELECT count(*) FROM session),
            (SELECT count(*) FROM submission), (SELECT count(*) FROM files),
            (SELECT count(*) FROM marking), (SELECT count(*) FROM marks),
            (SELECT count(*) FROM grade)
        ] AS inserted,
        ARRAY[
            1, 1, 1, cardinality(:file_ids::text[]), 1, cardinality(:mark_ids::text[]), 1
        ]::bigint[] AS expected
)
SELECT CASE
    WHEN inserted = expected THEN 1
    ELSE ('rogo_async inserted ' || inserted::text || ' of ' || expected::text)::int
END
FROM counted
WHERE inserted[1] > 0
   OR NOT EXISTS (SELECT FROM lti_launch_sessions l WHERE l.launch_id = :launch_id);

-- name: existing_submission
-- The submission of this launch id, found by unique keys without a scan.
SELECT
    EXISTS (SELECT FROM lti_launch_sessions l WHERE l.launch_id = :launch_id::text)
        OR EXISTS (SELECT FROM lti_session_records r WHERE r.launch_id = :launch_id::text)
        AS started,
    (SELECT s.id FROM assignment_submissions s WHERE s.id = :submission_id::text) AS ours,
    (SELECT s.id FROM assignment_submissions s WHERE s.lti_launch_id = :launch_id::text LIMIT 1)
        AS existing;

-- name: existing_malpractice_rules
-- The malpractice rules of one key, with the attempt of each (null: not migrated). FOR UPDATE,
-- since the platform does not take the advisory lock and may change a row at any time.
SELECT e.id, e.attempt_number, e.enforced_max_attempts, to_jsonb(e)::text AS before,
    substring(s.lti_launch_id from '^rogo_0*([0-9]{1,10})_')::bigint AS attempt
FROM malpractice_enforcements e
LEFT JOIN assignment_submissions s ON s.id = e.submission_id
WHERE e.lms_user_id = :lms_user_id::text
  AND e.custom_assessment_code = :assessment_code::text
  AND e.context_id = :context_id::text
ORDER BY e.id
FOR UPDATE OF e;

-- name: lock_malpractice_key
SELECT pg_advisory_xact_lock(:key::bigint);

-- name: insert_malpractice_rule
INSERT INTO malpractice_enforcements (
    id, lms_user_id, custom_assessment_code, context_id, context_title, malpractice_level_id,
    submission_id, attempt_number, enforced_max_attempts, rule_applied_by, rule_applied_at,
    created_at, updated_at)
VALUES (
    :enforcement_id::text, :lms_user_id::text, :assessment_code::text, :context_id::text,
    :context_title::text, :malpractice_level_id::text, :submission_id::text,
    :attempt_number::int, :max_attempts::int, :applied_by::text, now(), now(), now())
RETURNING id;

-- name: update_malpractice_rule
UPDATE malpractice_enforcements SET
    context_title = :context_title::text,
    malpractice_level_id = :malpractice_level_id::text,
    submission_id = :submission_id::text,
    attempt_number = :attempt_number::int,
    enforced_max_attempts = :max_attempts::int,
    rule_applied_by = :applied_by::text,
    rule_applied_at = now(),
    updated_at = now()
WHERE id = :enforcement_id::text
RETURNING id;
