-- Generation 2: codes of business types.
-- target: business_type_codes
-- shape: business_type_codes (id, code, name)
-- same by: code
select
    source_rowid,
    id,
    code,
    name,
    description,
    is_active,
    created_at
from business_type_codes
