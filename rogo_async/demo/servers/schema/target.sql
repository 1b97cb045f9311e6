-- The tables of the marking platform that a migration uses. The platform owns
-- them, so there are no keys or indexes that it does not have.

CREATE TYPE user_role AS ENUM ('admin', 'marker', 'moderator', 'learner');
CREATE TYPE submission_file_type AS ENUM ('submission', 'feedback');
CREATE TYPE marking_status AS ENUM (
    'waiting', 'being_marked', 'approval_needed', 'on_hold', 'marking_skipped', 'released');

-- Read-only for a migration.

CREATE TABLE users (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    username text,
    email text,
    role user_role,
    created_at timestamptz DEFAULT now()
);

CREATE TABLE assessments (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    code text UNIQUE,
    name text,
    is_active text DEFAULT 'true',
    created_at timestamptz DEFAULT now()
);

CREATE TABLE assessment_sections (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    assessment_id varchar REFERENCES assessments (id),
    question_text text,
    "order" integer,
    is_active text DEFAULT 'true'
);

CREATE TABLE malpractice_levels (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    level_text text,
    sort_order integer,
    is_active text DEFAULT 'true'
);

-- Written by a migration.

CREATE TABLE lti_launch_sessions (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    launch_id text UNIQUE,
    consumer_key text NOT NULL,
    user_id text,
    user_email text,
    user_name text,
    course_name text,
    return_url text,
    resource_link_id text,
    context_id text,
    tool_consumer_instance_guid text,
    custom_params text,
    lti_message_type text,
    context_type text,
    context_title text,
    roles text,
    lis_person_name_given text,
    lis_person_name_family text,
    lis_person_name_full text,
    lis_person_contact_email_primary text,
    tool_consumer_instance_name text,
    custom_action text,
    assignment_title text,
    custom_instruction_set text,
    custom_assessment_code text,
    created_at timestamptz,
    expires_at timestamptz NOT NULL
);

CREATE TABLE lti_session_records (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    launch_id text UNIQUE,
    lms_user_id text,
    consumer_name text,
    role text,
    first_name text,
    last_name text,
    full_name text,
    email text,
    custom_action text,
    custom_instruction_set text,
    custom_assessment_code text,
    context_type text,
    context_title text,
    resource_link_id text,
    resource_link_title text,
    context_id text,
    consumer_key text,
    tool_consumer_instance_guid text,
    return_url text,
    has_file_submission text,
    session_expiry timestamptz NOT NULL,
    created_at timestamptz
);

CREATE TABLE assignment_submissions (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    lti_session_record_id varchar REFERENCES lti_session_records (id),
    lti_launch_id varchar NOT NULL,
    file_count integer,
    total_file_size text,
    submitted_at timestamptz,
    attempt_number integer,
    lms_user_id text,
    consumer_name text,
    role text,
    first_name text,
    last_name text,
    full_name text,
    email text,
    custom_instruction_set text,
    custom_assessment_code text,
    custom_action text,
    context_type text,
    context_title text,
    context_id text,
    created_at timestamptz,
    updated_at timestamptz
);

CREATE TABLE submission_files (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    submission_id varchar REFERENCES assignment_submissions (id) ON DELETE CASCADE,
    file_name text,
    original_file_name text,
    file_size text,
    file_type text,
    file_mime_type text,
    file_url text NOT NULL,
    azure_blob_url text,
    azure_container_name text,
    azure_blob_name text,
    upload_order integer,
    uploaded_at timestamptz,
    submission_file_type submission_file_type,
    uploaded_by text,
    turnitin_status text DEFAULT 'pending',
    turnitin_submission_id text,
    turnitin_similarity_score integer,
    turnitin_report_url text,
    turnitin_error_message text,
    turnitin_retry_count integer DEFAULT 0,
    turnitin_eula_accepted boolean DEFAULT false,
    turnitin_excluded text DEFAULT 'false',
    turnitin_checked_at timestamptz
);

CREATE TABLE submission_marking_assignments (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    submission_id varchar REFERENCES assignment_submissions (id) ON DELETE CASCADE,
    assigned_marker_id varchar REFERENCES users (id),
    marking_status marking_status,
    assigned_at timestamptz,
    status_updated_at timestamptz,
    status_updated_by varchar REFERENCES users (id),
    notes text,
    hold_reason text,
    priority text,
    due_date timestamptz,
    created_at timestamptz,
    updated_at timestamptz
);

CREATE TABLE submission_section_marks (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    submission_id varchar REFERENCES assignment_submissions (id) ON DELETE CASCADE,
    section_id varchar REFERENCES assessment_sections (id),
    marker_id varchar REFERENCES users (id),
    selected_option_id varchar,
    feedback text,
    marks_awarded real,
    marking_criterias jsonb,
    created_at timestamptz,
    updated_at timestamptz
);

CREATE TABLE submission_grades (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    submission_id varchar UNIQUE REFERENCES assignment_submissions (id) ON DELETE CASCADE,
    assessment_id varchar REFERENCES assessments (id),
    marker_id varchar,
    total_marks_awarded real,
    total_marks_possible real,
    percentage_score real,
    final_grade text,
    overall_summary text,
    skip_reason_id varchar,
    skipped_reason text,
    malpractice_level_id varchar REFERENCES malpractice_levels (id),
    malpractice_notes text,
    word_count integer,
    is_complete boolean,
    completed_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz
);

CREATE TABLE malpractice_enforcements (
    id varchar PRIMARY KEY DEFAULT gen_random_uuid(),
    lms_user_id text NOT NULL,
    custom_assessment_code text NOT NULL,
    context_id text,
    context_title text,
    malpractice_level_id varchar NOT NULL,
    submission_id varchar REFERENCES assignment_submissions (id),
    attempt_number integer,
    enforced_max_attempts integer,
    rule_applied_by varchar NOT NULL REFERENCES users (id),
    rule_applied_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz
);
