-- Generation 2: Callytics_new.sqlite.
-- Word for word what the application created; its comments are in Korean.

CREATE TABLE audio_properties (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    file_path TEXT NOT NULL,
    file_name TEXT NOT NULL,
    duration REAL,
    sample_rate INTEGER,
    channels INTEGER,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    
    -- 확장된 분석 데이터 필드들
    topic_id INTEGER DEFAULT 1,                    -- 토픽 ID
    extension TEXT,                                -- 파일 확장자
    min_frequency REAL,                            -- 최소 주파수
    max_frequency REAL,                            -- 최대 주파수
    bit_depth INTEGER,                             -- 비트 깊이
    rms_loudness REAL,                             -- RMS 음량
    zero_crossing_rate REAL,                       -- 제로 크로싱 레이트
    spectral_centroid REAL,                        -- 스펙트럴 센트로이드
    eq_20_250_hz REAL,                             -- EQ 20-250Hz
    eq_250_2000_hz REAL,                           -- EQ 250-2000Hz
    eq_2000_6000_hz REAL,                          -- EQ 2000-6000Hz
    eq_6000_20000_hz REAL,                         -- EQ 6000-20000Hz
    mfcc_1 REAL,                                   -- MFCC 1
    mfcc_2 REAL,                                   -- MFCC 2
    mfcc_3 REAL,                                   -- MFCC 3
    mfcc_4 REAL,                                   -- MFCC 4
    mfcc_5 REAL,                                   -- MFCC 5
    mfcc_6 REAL,                                   -- MFCC 6
    mfcc_7 REAL,                                   -- MFCC 7
    mfcc_8 REAL,                                   -- MFCC 8
    mfcc_9 REAL,                                   -- MFCC 9
    mfcc_10 REAL,                                  -- MFCC 10
    mfcc_11 REAL,                                  -- MFCC 11
    mfcc_12 REAL,                                  -- MFCC 12
    mfcc_13 REAL,                                  -- MFCC 13
    summary TEXT,                                  -- 분석 요약
    conflict_flag INTEGER DEFAULT 0,               -- 갈등 플래그
    silence_value REAL DEFAULT 0.0                 -- 무음 값
);
CREATE TABLE utterances (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    audio_properties_id INTEGER,
    speaker TEXT,
    start_time REAL,
    end_time REAL,
    text TEXT,
    confidence REAL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    
    -- 확장된 분석 데이터 필드들
    sequence INTEGER,                               -- 발화 순서
    sentiment TEXT DEFAULT '중립',                  -- 감정 분석 결과
    profane INTEGER DEFAULT 0,                      -- 비속어 포함 여부 (0/1)
    
    FOREIGN KEY (audio_properties_id) REFERENCES audio_properties(id)
);
CREATE TABLE consultation_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    audio_properties_id INTEGER,
    business_type TEXT NOT NULL,                    -- 수집기관별 업무 유형
    classification_type TEXT NOT NULL,              -- 분류 유형
    detail_classification TEXT NOT NULL,            -- 세부 분류 유형
    consultation_result TEXT NOT NULL,              -- 상담 결과
    summary TEXT,                                   -- 상담 요약
    customer_request TEXT,                          -- 고객 요청사항
    solution TEXT,                                  -- 해결방안
    additional_info TEXT,                           -- 추가 안내사항
    confidence REAL DEFAULT 0.0,                    -- 분석 신뢰도
    processing_time REAL DEFAULT 0.0,               -- 처리 시간
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (audio_properties_id) REFERENCES audio_properties(id)
);
CREATE TABLE business_type_codes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    code TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    is_active BOOLEAN DEFAULT TRUE,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE classification_type_codes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    code TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    is_active BOOLEAN DEFAULT TRUE,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE detail_classification_codes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    classification_type_code TEXT NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    is_active BOOLEAN DEFAULT TRUE,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (classification_type_code) REFERENCES classification_type_codes(code),
    UNIQUE(classification_type_code, code)
);
CREATE TABLE communication_quality (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    audio_properties_id INTEGER,
    consultation_id TEXT,
    
    -- 6가지 품질 지표 (비율 %)
    honorific_ratio REAL DEFAULT 0.0,              -- 존댓말 사용 비율
    positive_word_ratio REAL DEFAULT 0.0,          -- 긍정 단어 비율
    negative_word_ratio REAL DEFAULT 0.0,          -- 부정 단어 비율
    euphonious_word_ratio REAL DEFAULT 0.0,        -- 쿠션어/완곡 표현 비율
    empathy_ratio REAL DEFAULT 0.0,                -- 공감 표현 비율
    apology_ratio REAL DEFAULT 0.0,                -- 사과 표현 비율
    
    -- 기본 통계 정보
    total_sentences INTEGER DEFAULT 0,              -- 총 상담사 발화 문장 수
    
    -- 새로운 정량 분석 지표 5종
    customer_sentiment_early REAL,                  -- 고객 감정 초반부 평균 (-2.0 ~ 2.0)
    customer_sentiment_late REAL,                   -- 고객 감정 후반부 평균 (-2.0 ~ 2.0)
    customer_sentiment_trend REAL,                  -- 고객 감정 변화 추세 (후반부 - 초반부)
    avg_response_latency REAL,                      -- 평균 응답 지연 시간 (초)
    task_ratio REAL,                                -- 업무 처리 비율 (고객/상담사 발화 시간)
    
    -- 새로운 LLM 기반 정성 평가 지표 2종
    suggestions REAL,                               -- 문제 해결 제안 점수 (1.0, 0.6, 0.2, 0.0)
    interruption_count INTEGER,                     -- 대화 가로채기 횟수
    
    -- 세부 분석 정보 (JSON 형태)
    analysis_details TEXT,                          -- 상세 분석 정보 (JSON)
    
    -- 메타데이터
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    
    FOREIGN KEY (audio_properties_id) REFERENCES audio_properties(id)
);
CREATE TABLE communication_quality_details (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    communication_quality_id INTEGER,
    sentence_text TEXT NOT NULL,
    sentence_order INTEGER,
    
    -- 문장별 품질 지표 (0/1 플래그)
    has_honorific INTEGER DEFAULT 0,               -- 존댓말 포함 여부
    has_positive_word INTEGER DEFAULT 0,           -- 긍정 단어 포함 여부
    has_negative_word INTEGER DEFAULT 0,           -- 부정 단어 포함 여부
    has_euphonious_word INTEGER DEFAULT 0,         -- 쿠션어 포함 여부
    has_empathy INTEGER DEFAULT 0,                 -- 공감 표현 포함 여부
    has_apology INTEGER DEFAULT 0,                 -- 사과 표현 포함 여부
    
    -- 매칭된 패턴 정보
    matched_patterns TEXT,                          -- 매칭된 패턴들 (JSON)
    
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    
    FOREIGN KEY (communication_quality_id) REFERENCES communication_quality(id)
);
CREATE VIEW consultation_statistics AS
SELECT 
    ca.business_type,
    ca.classification_type,
    ca.consultation_result,
    COUNT(*) as total_count,
    AVG(ca.confidence) as avg_confidence,
    AVG(ca.processing_time) as avg_processing_time,
    MIN(ca.created_at) as first_analysis,
    MAX(ca.created_at) as last_analysis
FROM consultation_analysis ca
GROUP BY ca.business_type, ca.classification_type, ca.consultation_result;
CREATE VIEW daily_consultation_stats AS
SELECT 
    DATE(ca.created_at) as analysis_date,
    COUNT(*) as total_analyses,
    COUNT(DISTINCT ca.audio_properties_id) as unique_files,
    AVG(ca.confidence) as avg_confidence,
    AVG(ca.processing_time) as avg_processing_time
FROM consultation_analysis ca
GROUP BY DATE(ca.created_at)
ORDER BY analysis_date DESC;
CREATE VIEW v_integrated_consultation_analysis AS
SELECT 
    ap.id as audio_id,
    ap.file_path,
    ap.file_name,
    ap.duration,
    ca.business_type,
    ca.classification_type,
    ca.detail_classification,
    ca.consultation_result,
    ca.summary,
    ca.confidence as analysis_confidence,
    cq.honorific_ratio,
    cq.positive_word_ratio,
    cq.negative_word_ratio,
    cq.euphonious_word_ratio,
    cq.empathy_ratio,
    cq.apology_ratio,
    cq.total_sentences,
    cq.customer_sentiment_early,
    cq.customer_sentiment_late,
    cq.customer_sentiment_trend,
    cq.avg_response_latency,
    cq.task_ratio,
    cq.suggestions,
    cq.interruption_count,
    ap.created_at
FROM audio_properties ap
LEFT JOIN consultation_analysis ca ON ap.id = ca.audio_properties_id
LEFT JOIN communication_quality cq ON ap.id = cq.audio_properties_id
ORDER BY ap.created_at DESC;
CREATE VIEW v_communication_quality_summary AS
SELECT 
    COUNT(*) as total_consultations,
    AVG(honorific_ratio) as avg_honorific_ratio,
    AVG(positive_word_ratio) as avg_positive_word_ratio,
    AVG(negative_word_ratio) as avg_negative_word_ratio,
    AVG(euphonious_word_ratio) as avg_euphonious_word_ratio,
    AVG(empathy_ratio) as avg_empathy_ratio,
    AVG(apology_ratio) as avg_apology_ratio,
    AVG(total_sentences) as avg_total_sentences,
    AVG(customer_sentiment_early) as avg_customer_sentiment_early,
    AVG(customer_sentiment_late) as avg_customer_sentiment_late,
    AVG(customer_sentiment_trend) as avg_customer_sentiment_trend,
    AVG(avg_response_latency) as avg_response_latency,
    AVG(task_ratio) as avg_task_ratio,
    AVG(suggestions) as avg_suggestions,
    AVG(interruption_count) as avg_interruption_count,
    MIN(created_at) as earliest_date,
    MAX(created_at) as latest_date
FROM communication_quality
WHERE created_at >= date('now', '-30 days');
CREATE TRIGGER tr_communication_quality_update_timestamp
    AFTER UPDATE ON communication_quality
    FOR EACH ROW
BEGIN
    UPDATE communication_quality 
    SET updated_at = CURRENT_TIMESTAMP 
    WHERE id = NEW.id;
END;
CREATE INDEX idx_audio_properties_file_path ON audio_properties(file_path);
CREATE INDEX idx_audio_properties_created_at ON audio_properties(created_at);
CREATE INDEX idx_utterances_audio_id ON utterances(audio_properties_id);
CREATE INDEX idx_utterances_speaker ON utterances(speaker);
CREATE INDEX idx_utterances_start_time ON utterances(start_time);
CREATE INDEX idx_consultation_analysis_audio_id ON consultation_analysis(audio_properties_id);
CREATE INDEX idx_consultation_analysis_business_type ON consultation_analysis(business_type);
CREATE INDEX idx_consultation_analysis_classification_type ON consultation_analysis(classification_type);
CREATE INDEX idx_consultation_analysis_consultation_result ON consultation_analysis(consultation_result);
CREATE INDEX idx_consultation_analysis_created_at ON consultation_analysis(created_at);
CREATE INDEX idx_business_type_codes_code ON business_type_codes(code);
CREATE INDEX idx_classification_type_codes_code ON classification_type_codes(code);
CREATE INDEX idx_detail_classification_codes_type_code ON detail_classification_codes(classification_type_code);
CREATE INDEX idx_communication_quality_audio_id ON communication_quality(audio_properties_id);
CREATE INDEX idx_communication_quality_consultation_id ON communication_quality(consultation_id);
CREATE INDEX idx_communication_quality_created_at ON communication_quality(created_at);
CREATE INDEX idx_communication_quality_honorific_ratio ON communication_quality(honorific_ratio);
CREATE INDEX idx_communication_quality_positive_word_ratio ON communication_quality(positive_word_ratio);
CREATE INDEX idx_communication_quality_negative_word_ratio ON communication_quality(negative_word_ratio);
CREATE INDEX idx_communication_quality_empathy_ratio ON communication_quality(empathy_ratio);
CREATE INDEX idx_communication_quality_sentiment_trend ON communication_quality(customer_sentiment_trend);
CREATE INDEX idx_communication_quality_response_latency ON communication_quality(avg_response_latency);
CREATE INDEX idx_communication_quality_task_ratio ON communication_quality(task_ratio);
CREATE INDEX idx_communication_quality_suggestions ON communication_quality(suggestions);
CREATE INDEX idx_communication_quality_interruption_count ON communication_quality(interruption_count);
CREATE INDEX idx_communication_quality_details_quality_id ON communication_quality_details(communication_quality_id);
CREATE INDEX idx_communication_quality_details_sentence_order ON communication_quality_details(sentence_order);
