-- Generation 2: codes of classification types.
-- target: classification_type_codes
-- shape: classification_type_codes (id, code, name)
-- same by: code
select
    source_rowid,
    id,
    code,
    name,
    description,
    is_active,
    created_at
from classification_type_codes
