-- Generation 3: the person behind an account.
-- target: agent_profiles
-- shape: agent_profiles (id, account_id, employee_id)
-- file: consultation_quality
-- reference: account_id to agent_accounts
-- reference: supervisor_id to agent_profiles
select
    source_rowid,
    id,
    account_id,
    employee_id,
    full_name,
    first_name,
    last_name,
    department,
    position,
    team,
    supervisor_id,
    hire_date,
    experience_years,
    specialization,
    contact_number,
    profile_image_path,
    bio,
    is_active,
    created_at,
    updated_at
from agent_profiles
