-- Generation 1: what was measured in a recording.
-- target: audio_features
-- shape: File (ID, Name, Summary)
-- key: audio_file_id
-- reference: audio_file_id to File
-- reference: topic_id to Topic
select
    source_rowid,
    ID as audio_file_id,
    TopicID as topic_id,
    Summary as summary,
    Conflict as conflict_flag,
    Silence as silence_value,
    BitDepth as bit_depth,
    MinFreq as min_frequency,
    MaxFreq as max_frequency,
    RMSLoudness as rms_loudness,
    ZeroCrossingRate as zero_crossing_rate,
    SpectralCentroid as spectral_centroid,
    EQ_20_250_Hz as eq_20_250_hz,
    EQ_250_2000_Hz as eq_250_2000_hz,
    EQ_2000_6000_Hz as eq_2000_6000_hz,
    EQ_6000_20000_Hz as eq_6000_20000_hz,
    MFCC_1 as "mfcc[1]",
    MFCC_2 as "mfcc[2]",
    MFCC_3 as "mfcc[3]",
    MFCC_4 as "mfcc[4]",
    MFCC_5 as "mfcc[5]",
    MFCC_6 as "mfcc[6]",
    MFCC_7 as "mfcc[7]",
    MFCC_8 as "mfcc[8]",
    MFCC_9 as "mfcc[9]",
    MFCC_10 as "mfcc[10]",
    MFCC_11 as "mfcc[11]",
    MFCC_12 as "mfcc[12]",
    MFCC_13 as "mfcc[13]"
from File
