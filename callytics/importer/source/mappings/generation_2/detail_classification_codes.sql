-- Generation 2: codes of detailed classifications.
-- target: detail_classification_codes
-- shape: detail_classification_codes (id, classification_type_code, code)
-- same by: classification_type_code, code
select
    source_rowid,
    id,
    classification_type_code,
    code,
    name,
    description,
    is_active,
    created_at
from detail_classification_codes
