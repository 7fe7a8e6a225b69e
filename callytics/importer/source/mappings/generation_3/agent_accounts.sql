-- Generation 3: accounts that log in.
-- target: agent_accounts
-- shape: agent_accounts (id, username, email)
-- file: consultation_quality
select
    source_rowid,
    id,
    username,
    email,
    password_hash,
    account_status,
    last_login_at,
    login_attempts,
    account_locked_until,
    created_at,
    updated_at
from agent_accounts
