-- Generation 2: what was measured in a recording.
-- target: audio_features
-- shape: audio_properties (id, file_path, file_name)
-- key: audio_file_id
-- reference: audio_file_id to audio_properties
-- reference: topic_id to Topic
select
    source_rowid,
    id as audio_file_id,
    topic_id,
    summary,
    conflict_flag,
    silence_value,
    bit_depth,
    min_frequency,
    max_frequency,
    rms_loudness,
    zero_crossing_rate,
    spectral_centroid,
    eq_20_250_hz,
    eq_250_2000_hz,
    eq_2000_6000_hz,
    eq_6000_20000_hz,
    mfcc_1 as "mfcc[1]",
    mfcc_2 as "mfcc[2]",
    mfcc_3 as "mfcc[3]",
    mfcc_4 as "mfcc[4]",
    mfcc_5 as "mfcc[5]",
    mfcc_6 as "mfcc[6]",
    mfcc_7 as "mfcc[7]",
    mfcc_8 as "mfcc[8]",
    mfcc_9 as "mfcc[9]",
    mfcc_10 as "mfcc[10]",
    mfcc_11 as "mfcc[11]",
    mfcc_12 as "mfcc[12]",
    mfcc_13 as "mfcc[13]"
from audio_properties
