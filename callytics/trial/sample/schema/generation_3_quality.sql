-- Generation 3: consultation_quality.sqlite.
-- Word for word what the application created; its comments are in Korean.

CREATE TABLE consultation_sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    audio_file_id INTEGER NOT NULL,
    session_date DATE NOT NULL,
    duration_minutes REAL NOT NULL,
    agent_name TEXT,
    customer_id TEXT,
    consultation_type TEXT CHECK(consultation_type IN ('inquiry', 'complaint', 'support', 'sales', 'technical', 'billing', 'other')),
    overall_quality_score REAL CHECK(overall_quality_score >= 0 AND overall_quality_score <= 1),
    analysis_status TEXT DEFAULT 'pending' CHECK(analysis_status IN ('pending', 'processing', 'completed', 'failed', 'reprocessing')),
    analysis_started_at DATETIME,
    analysis_completed_at DATETIME,
    analysis_error_message TEXT,
    summary TEXT,
    key_issues TEXT,
    resolution_status TEXT CHECK(resolution_status IN ('resolved', 'partially_resolved', 'unresolved', 'escalated')),
    customer_satisfaction_score REAL CHECK(customer_satisfaction_score >= 0 AND customer_satisfaction_score <= 1),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE quality_metrics (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    metric_name TEXT NOT NULL,
    metric_value REAL NOT NULL,
    metric_description TEXT,
    weight REAL DEFAULT 1.0 CHECK(weight >= 0 AND weight <= 1),
    category TEXT CHECK(category IN ('communication', 'technical', 'process', 'attitude', 'resolution')),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP, metric_group TEXT CHECK(metric_group IN ('audio', 'communication', 'ai_analysis', 'business', 'technical')),
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE sentiment_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    speaker_type TEXT NOT NULL CHECK(speaker_type IN ('customer', 'agent')),
    sentiment_score REAL NOT NULL CHECK(sentiment_score >= -1 AND sentiment_score <= 1),
    emotion_category TEXT CHECK(emotion_category IN ('happy', 'satisfied', 'neutral', 'frustrated', 'angry', 'anxious', 'confused')),
    confidence REAL CHECK(confidence >= 0 AND confidence <= 1),
    analysis_timestamp DATETIME DEFAULT CURRENT_TIMESTAMP,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE communication_patterns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    pattern_type TEXT NOT NULL CHECK(pattern_type IN ('interruption', 'long_silence', 'rapid_speech', 'repetition', 'clarification_request', 'empathy_expression', 'solution_proposal')),
    frequency INTEGER DEFAULT 0,
    severity_score REAL CHECK(severity_score >= 0 AND severity_score <= 1),
    description TEXT,
    impact_on_quality TEXT CHECK(impact_on_quality IN ('positive', 'negative', 'neutral')),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE improvement_suggestions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    suggestion_category TEXT NOT NULL CHECK(suggestion_category IN ('communication', 'technical', 'process', 'attitude', 'knowledge', 'system')),
    suggestion_text TEXT NOT NULL,
    priority TEXT NOT NULL CHECK(priority IN ('high', 'medium', 'low')),
    implementation_difficulty TEXT CHECK(implementation_difficulty IN ('easy', 'medium', 'hard')),
    expected_impact TEXT CHECK(expected_impact IN ('high', 'medium', 'low')),
    target_audience TEXT CHECK(target_audience IN ('agent', 'supervisor', 'system', 'process')),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE consultation_keywords (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    keyword TEXT NOT NULL,
    frequency INTEGER DEFAULT 1,
    importance_score REAL CHECK(importance_score >= 0 AND importance_score <= 1),
    category TEXT CHECK(category IN ('product', 'service', 'issue', 'emotion', 'action', 'technical')),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE agent_performance (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_name TEXT NOT NULL,
    session_id INTEGER NOT NULL,
    performance_score REAL CHECK(performance_score >= 0 AND performance_score <= 1),
    strengths TEXT,
    areas_for_improvement TEXT,
    training_recommendations TEXT,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE analysis_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    analysis_type TEXT NOT NULL, -- 예: 'diarization', 'llm', 'quality', ...
    status TEXT NOT NULL CHECK(status IN ('pending', 'processing', 'completed', 'failed', 'reprocessing')),
    started_at DATETIME,
    completed_at DATETIME,
    error_message TEXT,
    reprocess_count INTEGER DEFAULT 0,
    triggered_by TEXT, -- 'auto', 'manual', 'system'
    parameters TEXT, -- JSON
    result_summary TEXT, -- 요약(성공시)
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE consultation_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    consultation_id TEXT NOT NULL UNIQUE,
    audio_path TEXT NOT NULL,
    business_type TEXT,
    classification_type TEXT,
    detail_classification TEXT,
    consultation_result TEXT,
    summary TEXT,
    customer_request TEXT,
    solution TEXT,
    additional_info TEXT,
    confidence REAL DEFAULT 0.0,
    processing_time REAL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE communication_quality (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    audio_path TEXT NOT NULL,
    consultation_id TEXT NOT NULL,
    honorific_ratio REAL DEFAULT 0.0,
    positive_word_ratio REAL DEFAULT 0.0,
    negative_word_ratio REAL DEFAULT 0.0,
    euphonious_word_ratio REAL DEFAULT 0.0,
    empathy_ratio REAL DEFAULT 0.0,
    apology_ratio REAL DEFAULT 0.0,
    total_sentences INTEGER DEFAULT 0,
    customer_sentiment_early REAL DEFAULT 0.0,
    customer_sentiment_late REAL DEFAULT 0.0,
    customer_sentiment_trend REAL DEFAULT 0.0,
    avg_response_latency REAL DEFAULT 0.0,
    task_ratio REAL DEFAULT 0.0,
    suggestions INTEGER DEFAULT 0,
    interruption_count INTEGER DEFAULT 0,
    silence_ratio REAL DEFAULT 0.0,
    talk_ratio REAL DEFAULT 0.0,
    analysis_details TEXT,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE utterances (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    audio_path TEXT NOT NULL,
    speaker TEXT,
    start_time REAL,
    end_time REAL,
    text TEXT,
    confidence REAL DEFAULT 0.0,
    sequence INTEGER,
    sentiment TEXT DEFAULT '중립',
    profane INTEGER DEFAULT 0,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE llm_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    analysis_type TEXT NOT NULL CHECK(analysis_type IN ('summary', 'quality_assessment', 'sentiment_timeline', 'improvement_recommendations', 'communication_analysis', 'issue_detection', 'comprehensive_report')),
    result_json TEXT NOT NULL, -- JSON 구조화된 분석 결과
    model_version TEXT, -- 사용된 LLM 모델 버전
    analysis_parameters TEXT, -- 분석 파라미터 (JSON)
    confidence_score REAL CHECK(confidence_score >= 0 AND confidence_score <= 1),
    processing_time_seconds REAL, -- 분석 소요 시간
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE llm_summary_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    llm_analysis_id INTEGER NOT NULL,
    overall_summary TEXT NOT NULL, -- 전체 요약
    key_points TEXT, -- 핵심 포인트 (JSON 배열)
    customer_concerns TEXT, -- 고객 우려사항 (JSON 배열)
    agent_actions TEXT, -- 상담사 행동 (JSON 배열)
    resolution_status TEXT CHECK(resolution_status IN ('resolved', 'partially_resolved', 'unresolved', 'escalated')),
    satisfaction_indicators TEXT, -- 만족도 지표 (JSON)
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (llm_analysis_id) REFERENCES llm_analysis(id) ON DELETE CASCADE
);
CREATE TABLE llm_issue_detection (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    llm_analysis_id INTEGER NOT NULL,
    issue_type TEXT NOT NULL CHECK(issue_type IN ('technical', 'communication', 'process', 'attitude', 'knowledge', 'system')),
    issue_description TEXT NOT NULL,
    severity_level TEXT CHECK(severity_level IN ('critical', 'high', 'medium', 'low')),
    occurrence_time REAL, -- 발생 시점 (초)
    impact_description TEXT, -- 영향 설명
    suggested_solution TEXT, -- 제안 해결책
    priority_score REAL CHECK(priority_score >= 0 AND priority_score <= 1),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (llm_analysis_id) REFERENCES llm_analysis(id) ON DELETE CASCADE
);
CREATE TABLE llm_sentiment_timeline (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    llm_analysis_id INTEGER NOT NULL,
    speaker_type TEXT NOT NULL CHECK(speaker_type IN ('customer', 'agent')),
    time_segment_start REAL NOT NULL, -- 시간 구간 시작 (초)
    time_segment_end REAL NOT NULL, -- 시간 구간 끝 (초)
    dominant_emotion TEXT, -- 주요 감정
    emotion_intensity REAL CHECK(emotion_intensity >= 0 AND emotion_intensity <= 1),
    sentiment_score REAL CHECK(sentiment_score >= -1 AND sentiment_score <= 1),
    emotion_triggers TEXT, -- 감정 변화 원인 (JSON 배열)
    communication_quality REAL CHECK(communication_quality >= 0 AND communication_quality <= 1),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (llm_analysis_id) REFERENCES llm_analysis(id) ON DELETE CASCADE
);
CREATE TABLE llm_improvement_recommendations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    llm_analysis_id INTEGER NOT NULL,
    recommendation_category TEXT NOT NULL CHECK(recommendation_category IN ('immediate', 'short_term', 'long_term', 'training', 'process', 'system')),
    recommendation_text TEXT NOT NULL,
    rationale TEXT, -- 추천 이유
    expected_impact TEXT CHECK(expected_impact IN ('high', 'medium', 'low')),
    implementation_difficulty TEXT CHECK(implementation_difficulty IN ('easy', 'medium', 'hard')),
    target_audience TEXT CHECK(target_audience IN ('agent', 'supervisor', 'system', 'process')),
    priority_level TEXT CHECK(priority_level IN ('critical', 'high', 'medium', 'low')),
    cost_estimate TEXT, -- 비용 추정
    timeline_estimate TEXT, -- 시간 추정
    success_metrics TEXT, -- 성공 지표 (JSON)
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (llm_analysis_id) REFERENCES llm_analysis(id) ON DELETE CASCADE
);
CREATE TABLE llm_communication_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    llm_analysis_id INTEGER NOT NULL,
    communication_style TEXT, -- 커뮤니케이션 스타일
    empathy_level REAL CHECK(empathy_level >= 0 AND empathy_level <= 1),
    professionalism_score REAL CHECK(professionalism_score >= 0 AND professionalism_score <= 1),
    clarity_score REAL CHECK(clarity_score >= 0 AND clarity_score <= 1),
    responsiveness_score REAL CHECK(responsiveness_score >= 0 AND responsiveness_score <= 1),
    active_listening_score REAL CHECK(active_listening_score >= 0 AND active_listening_score <= 1),
    problem_solving_approach TEXT, -- 문제 해결 접근법
    customer_engagement_level REAL CHECK(customer_engagement_level >= 0 AND customer_engagement_level <= 1),
    communication_breakdowns TEXT, -- 커뮤니케이션 문제점 (JSON 배열)
    strengths_identified TEXT, -- 강점 (JSON 배열)
    areas_for_improvement TEXT, -- 개선 영역 (JSON 배열)
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (llm_analysis_id) REFERENCES llm_analysis(id) ON DELETE CASCADE
);
CREATE TABLE agent_accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    username TEXT NOT NULL UNIQUE, -- 로그인 아이디
    email TEXT UNIQUE, -- 이메일
    password_hash TEXT NOT NULL, -- 암호화된 비밀번호
    account_status TEXT DEFAULT 'active' CHECK(account_status IN ('active', 'inactive', 'suspended', 'pending')),
    last_login_at DATETIME,
    login_attempts INTEGER DEFAULT 0, -- 로그인 시도 횟수
    account_locked_until DATETIME, -- 계정 잠금 해제 시간
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE agent_profiles (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL UNIQUE,
    employee_id TEXT UNIQUE, -- 사원번호
    full_name TEXT NOT NULL, -- 전체 이름
    first_name TEXT NOT NULL, -- 이름
    last_name TEXT NOT NULL, -- 성
    department TEXT NOT NULL, -- 부서
    position TEXT NOT NULL, -- 직급
    team TEXT, -- 팀
    supervisor_id INTEGER, -- 상사 ID
    hire_date DATE, -- 입사일
    experience_years INTEGER, -- 경력 연수
    specialization TEXT, -- 전문 분야
    contact_number TEXT, -- 연락처
    profile_image_path TEXT, -- 프로필 이미지 경로
    bio TEXT, -- 자기소개
    is_active BOOLEAN DEFAULT TRUE,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (account_id) REFERENCES agent_accounts(id) ON DELETE CASCADE,
    FOREIGN KEY (supervisor_id) REFERENCES agent_profiles(id)
);
CREATE TABLE agent_permissions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id INTEGER NOT NULL,
    permission_type TEXT NOT NULL CHECK(permission_type IN ('audio_upload', 'analysis_view', 'report_generation', 'admin', 'supervisor', 'trainer')),
    permission_level TEXT CHECK(permission_level IN ('read', 'write', 'admin')),
    granted_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    granted_by INTEGER, -- 권한 부여자
    expires_at DATETIME, -- 권한 만료일
    is_active BOOLEAN DEFAULT TRUE,
    FOREIGN KEY (agent_id) REFERENCES agent_profiles(id) ON DELETE CASCADE,
    FOREIGN KEY (granted_by) REFERENCES agent_profiles(id)
);
CREATE TABLE agent_performance_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    performance_score REAL CHECK(performance_score >= 0 AND performance_score <= 1),
    quality_score REAL CHECK(quality_score >= 0 AND quality_score <= 1),
    customer_satisfaction_score REAL CHECK(customer_satisfaction_score >= 0 AND customer_satisfaction_score <= 1),
    resolution_rate REAL CHECK(resolution_rate >= 0 AND resolution_rate <= 1),
    average_handling_time REAL, -- 평균 처리 시간 (분)
    session_count INTEGER DEFAULT 1, -- 해당 기간 세션 수
    strengths_identified TEXT, -- 확인된 강점 (JSON 배열)
    areas_for_improvement TEXT, -- 개선 영역 (JSON 배열)
    training_recommendations TEXT, -- 교육 추천사항 (JSON 배열)
    evaluation_date DATE NOT NULL, -- 평가 날짜
    evaluator_id INTEGER, -- 평가자 ID
    evaluation_notes TEXT, -- 평가 노트
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (agent_id) REFERENCES agent_profiles(id) ON DELETE CASCADE,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE,
    FOREIGN KEY (evaluator_id) REFERENCES agent_profiles(id)
);
CREATE TABLE agent_training_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id INTEGER NOT NULL,
    training_type TEXT NOT NULL CHECK(training_type IN ('communication', 'technical', 'product_knowledge', 'customer_service', 'soft_skills', 'compliance')),
    training_name TEXT NOT NULL,
    training_provider TEXT, -- 교육 제공자
    training_date DATE NOT NULL,
    training_duration_hours REAL, -- 교육 시간
    completion_status TEXT CHECK(completion_status IN ('completed', 'in_progress', 'not_started', 'failed')),
    score REAL CHECK(score >= 0 AND score <= 100), -- 교육 점수
    certificate_path TEXT, -- 자격증 경로
    training_notes TEXT, -- 교육 노트
    impact_on_performance TEXT, -- 성과에 미친 영향
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (agent_id) REFERENCES agent_profiles(id) ON DELETE CASCADE
);
CREATE TABLE agent_activity_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id INTEGER NOT NULL,
    activity_type TEXT NOT NULL CHECK(activity_type IN ('login', 'logout', 'audio_upload', 'analysis_view', 'report_generation', 'profile_update', 'training_completion')),
    activity_description TEXT,
    ip_address TEXT, -- IP 주소
    user_agent TEXT, -- 브라우저 정보
    session_id TEXT, -- 웹 세션 ID
    activity_data TEXT, -- 활동 데이터 (JSON)
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (agent_id) REFERENCES agent_profiles(id) ON DELETE CASCADE
);
CREATE TABLE agent_settings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id INTEGER NOT NULL UNIQUE,
    language_preference TEXT DEFAULT 'ko', -- 언어 설정
    timezone TEXT DEFAULT 'Asia/Seoul', -- 시간대 설정
    notification_preferences TEXT, -- 알림 설정 (JSON)
    dashboard_preferences TEXT, -- 대시보드 설정 (JSON)
    analysis_preferences TEXT, -- 분석 설정 (JSON)
    privacy_settings TEXT, -- 개인정보 설정 (JSON)
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (agent_id) REFERENCES agent_profiles(id) ON DELETE CASCADE
);
CREATE TABLE agent_teams (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    team_name TEXT NOT NULL UNIQUE,
    department TEXT NOT NULL,
    team_leader_id INTEGER, -- 팀장 ID
    team_description TEXT,
    team_size INTEGER DEFAULT 0,
    is_active BOOLEAN DEFAULT TRUE,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (team_leader_id) REFERENCES agent_profiles(id)
);
CREATE TABLE agent_team_memberships (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id INTEGER NOT NULL,
    team_id INTEGER NOT NULL,
    role_in_team TEXT CHECK(role_in_team IN ('member', 'leader', 'mentor', 'trainee')),
    joined_date DATE DEFAULT CURRENT_DATE,
    left_date DATE, -- 팀 탈퇴일
    is_active BOOLEAN DEFAULT TRUE,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (agent_id) REFERENCES agent_profiles(id) ON DELETE CASCADE,
    FOREIGN KEY (team_id) REFERENCES agent_teams(id) ON DELETE CASCADE,
    UNIQUE(agent_id, team_id)
);
CREATE TABLE sentiment_timeline (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    speaker_type TEXT NOT NULL CHECK(speaker_type IN ('customer', 'agent')),
    time_start REAL NOT NULL, -- 시작 시간 (초)
    time_end REAL NOT NULL, -- 끝 시간 (초)
    dominant_emotion TEXT NOT NULL CHECK(dominant_emotion IN ('happy', 'satisfied', 'neutral', 'frustrated', 'angry', 'anxious', 'confused', 'surprised', 'disappointed')),
    emotion_intensity REAL CHECK(emotion_intensity >= 0 AND emotion_intensity <= 1),
    sentiment_score REAL CHECK(sentiment_score >= -1 AND sentiment_score <= 1),
    confidence REAL CHECK(confidence >= 0 AND confidence <= 1),
    emotion_triggers TEXT, -- 감정 변화 원인 (JSON 배열)
    context_description TEXT, -- 해당 구간의 상황 설명
    communication_quality REAL CHECK(communication_quality >= 0 AND communication_quality <= 1),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE detailed_quality_metrics (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    metric_category TEXT NOT NULL CHECK(metric_category IN ('communication', 'technical', 'process', 'attitude', 'resolution', 'customer_experience')),
    metric_subcategory TEXT, -- 세부 카테고리
    metric_name TEXT NOT NULL,
    metric_value REAL NOT NULL,
    metric_unit TEXT, -- 단위 (%, score, count, seconds 등)
    metric_description TEXT,
    measurement_method TEXT, -- 측정 방법
    weight REAL DEFAULT 1.0 CHECK(weight >= 0 AND weight <= 1),
    threshold_min REAL, -- 최소 임계값
    threshold_max REAL, -- 최대 임계값
    is_critical BOOLEAN DEFAULT FALSE, -- 중요 지표 여부
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE communication_pattern_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    pattern_type TEXT NOT NULL CHECK(pattern_type IN ('interruption', 'long_silence', 'rapid_speech', 'repetition', 'clarification_request', 'empathy_expression', 'solution_proposal', 'active_listening', 'question_technique', 'closing_technique')),
    pattern_subtype TEXT, -- 패턴 세부 유형
    occurrence_count INTEGER DEFAULT 0,
    total_duration REAL, -- 총 지속 시간 (초)
    average_duration REAL, -- 평균 지속 시간 (초)
    severity_score REAL CHECK(severity_score >= 0 AND severity_score <= 1),
    impact_on_quality TEXT CHECK(impact_on_quality IN ('positive', 'negative', 'neutral')),
    effectiveness_score REAL CHECK(effectiveness_score >= 0 AND effectiveness_score <= 1),
    context_description TEXT, -- 패턴 발생 상황 설명
    improvement_suggestion TEXT, -- 개선 제안
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE consultation_phase_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    phase_name TEXT NOT NULL CHECK(phase_name IN ('greeting', 'problem_identification', 'information_gathering', 'solution_proposal', 'objection_handling', 'resolution', 'closing')),
    phase_start_time REAL NOT NULL, -- 단계 시작 시간 (초)
    phase_end_time REAL NOT NULL, -- 단계 끝 시간 (초)
    phase_duration REAL, -- 단계 지속 시간 (초)
    phase_quality_score REAL CHECK(phase_quality_score >= 0 AND phase_quality_score <= 1),
    phase_effectiveness_score REAL CHECK(phase_effectiveness_score >= 0 AND phase_effectiveness_score <= 1),
    key_activities TEXT, -- 주요 활동 (JSON 배열)
    challenges_encountered TEXT, -- 직면한 어려움 (JSON 배열)
    strengths_demonstrated TEXT, -- 보여준 강점 (JSON 배열)
    areas_for_improvement TEXT, -- 개선 영역 (JSON 배열)
    customer_satisfaction_phase REAL CHECK(customer_satisfaction_phase >= 0 AND customer_satisfaction_phase <= 1),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE agent_behavior_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    behavior_type TEXT NOT NULL CHECK(behavior_type IN ('listening', 'questioning', 'explaining', 'problem_solving', 'empathy', 'professionalism', 'efficiency', 'adaptability')),
    behavior_score REAL CHECK(behavior_score >= 0 AND behavior_score <= 1),
    behavior_frequency INTEGER DEFAULT 0,
    behavior_duration REAL, -- 행동 지속 시간 (초)
    behavior_effectiveness REAL CHECK(behavior_effectiveness >= 0 AND behavior_effectiveness <= 1),
    behavior_context TEXT, -- 행동 발생 상황
    customer_response TEXT, -- 고객 반응
    improvement_opportunity TEXT, -- 개선 기회
    best_practice_demonstrated BOOLEAN DEFAULT FALSE,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE TABLE customer_response_analysis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL,
    response_type TEXT NOT NULL CHECK(response_type IN ('positive', 'negative', 'neutral', 'confused', 'satisfied', 'frustrated', 'appreciative', 'dismissive')),
    response_intensity REAL CHECK(response_intensity >= 0 AND response_intensity <= 1),
    response_duration REAL, -- 반응 지속 시간 (초)
    trigger_action TEXT, -- 반응을 유발한 행동
    response_impact TEXT CHECK(response_impact IN ('constructive', 'destructive', 'neutral')),
    follow_up_required BOOLEAN DEFAULT FALSE,
    escalation_risk REAL CHECK(escalation_risk >= 0 AND escalation_risk <= 1),
    response_description TEXT,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES consultation_sessions(id) ON DELETE CASCADE
);
CREATE VIEW agent_performance_summary AS
SELECT 
    cs.agent_name,
    COUNT(cs.id) as total_sessions,
    AVG(cs.overall_quality_score) as avg_quality_score,
    AVG(cs.customer_satisfaction_score) as avg_satisfaction_score,
    AVG(cs.duration_minutes) as avg_session_duration,
    COUNT(CASE WHEN cs.resolution_status = 'resolved' THEN 1 END) as resolved_sessions,
    COUNT(CASE WHEN cs.resolution_status = 'unresolved' THEN 1 END) as unresolved_sessions,
    ROUND(COUNT(CASE WHEN cs.resolution_status = 'resolved' THEN 1 END) * 100.0 / COUNT(cs.id), 2) as resolution_rate
FROM consultation_sessions cs
WHERE cs.analysis_status = 'completed'
GROUP BY cs.agent_name;
CREATE VIEW llm_analysis_summary AS
SELECT 
    la.id,
    la.session_id,
    la.analysis_type,
    la.confidence_score,
    la.processing_time_seconds,
    la.created_at,
    lsa.overall_summary,
    lsa.resolution_status,
    COUNT(lid.id) as issues_count,
    COUNT(lst.id) as sentiment_segments_count,
    COUNT(lir.id) as recommendations_count,
    lca.empathy_level,
    lca.professionalism_score,
    lca.clarity_score
FROM llm_analysis la
LEFT JOIN llm_summary_analysis lsa ON la.id = lsa.llm_analysis_id
LEFT JOIN llm_issue_detection lid ON la.id = lid.llm_analysis_id
LEFT JOIN llm_sentiment_timeline lst ON la.id = lst.llm_analysis_id
LEFT JOIN llm_communication_analysis lca ON la.id = lca.llm_analysis_id
GROUP BY la.id;
CREATE VIEW agent_summary_view AS
SELECT 
    ap.id,
    ap.employee_id,
    ap.full_name,
    ap.department,
    ap.position,
    ap.team,
    ap.experience_years,
    aa.account_status,
    aa.last_login_at,
    COUNT(DISTINCT cs.id) as total_sessions,
    AVG(cs.overall_quality_score) as avg_quality_score,
    AVG(cs.customer_satisfaction_score) as avg_satisfaction_score,
    COUNT(DISTINCT aph.id) as performance_evaluations,
    COUNT(DISTINCT ath.id) as training_completions,
    COUNT(DISTINCT aal.id) as recent_activities
FROM agent_profiles ap
LEFT JOIN agent_accounts aa ON ap.account_id = aa.id
LEFT JOIN consultation_sessions cs ON ap.id = cs.agent_id
LEFT JOIN agent_performance_history aph ON ap.id = aph.agent_id
LEFT JOIN agent_training_history ath ON ap.id = ath.agent_id AND ath.completion_status = 'completed'
LEFT JOIN agent_activity_logs aal ON ap.id = aal.agent_id AND aal.created_at >= date('now', '-30 days')
WHERE ap.is_active = 1
GROUP BY ap.id;
CREATE VIEW agent_performance_trends AS
SELECT 
    agent_id,
    DATE(evaluation_date) as date,
    AVG(performance_score) as avg_performance,
    AVG(quality_score) as avg_quality,
    AVG(customer_satisfaction_score) as avg_satisfaction,
    AVG(resolution_rate) as avg_resolution_rate,
    COUNT(*) as evaluation_count
FROM agent_performance_history
GROUP BY agent_id, DATE(evaluation_date)
ORDER BY agent_id, date DESC;
CREATE VIEW enhanced_quality_summary AS
SELECT 
    cs.id as session_id,
    cs.agent_name,
    cs.consultation_type,
    cs.overall_quality_score,
    cs.duration_minutes,
    -- 감정 타임라인 통계
    COUNT(DISTINCT st.id) as sentiment_segments_count,
    AVG(st.sentiment_score) as avg_sentiment_score,
    COUNT(CASE WHEN st.dominant_emotion = 'angry' THEN 1 END) as angry_segments,
    COUNT(CASE WHEN st.dominant_emotion = 'satisfied' THEN 1 END) as satisfied_segments,
    -- 상세 품질 지표 통계
    COUNT(dqm.id) as detailed_metrics_count,
    AVG(dqm.metric_value) as avg_metric_value,
    COUNT(CASE WHEN dqm.is_critical = 1 THEN 1 END) as critical_metrics_count,
    -- 커뮤니케이션 패턴 통계
    COUNT(cpa.id) as communication_patterns_count,
    AVG(cpa.effectiveness_score) as avg_pattern_effectiveness,
    -- 상담 단계 통계
    COUNT(cpha.id) as consultation_phases_count,
    AVG(cpha.phase_quality_score) as avg_phase_quality,
    -- 상담사 행동 통계
    COUNT(aba.id) as agent_behaviors_count,
    AVG(aba.behavior_effectiveness) as avg_behavior_effectiveness,
    -- 고객 반응 통계
    COUNT(cra.id) as customer_responses_count,
    AVG(cra.response_intensity) as avg_response_intensity,
    COUNT(CASE WHEN cra.escalation_risk > 0.7 THEN 1 END) as high_escalation_risk_count
FROM consultation_sessions cs
LEFT JOIN sentiment_timeline st ON cs.id = st.session_id
LEFT JOIN detailed_quality_metrics dqm ON cs.id = dqm.session_id
LEFT JOIN communication_pattern_analysis cpa ON cs.id = cpa.session_id
LEFT JOIN consultation_phase_analysis cpha ON cs.id = cpha.session_id
LEFT JOIN agent_behavior_analysis aba ON cs.id = aba.session_id
LEFT JOIN customer_response_analysis cra ON cs.id = cra.session_id
GROUP BY cs.id;
CREATE VIEW sentiment_trend_analysis AS
SELECT 
    session_id,
    speaker_type,
    time_start,
    time_end,
    dominant_emotion,
    sentiment_score,
    emotion_intensity,
    LAG(sentiment_score) OVER (PARTITION BY session_id, speaker_type ORDER BY time_start) as previous_sentiment,
    sentiment_score - LAG(sentiment_score) OVER (PARTITION BY session_id, speaker_type ORDER BY time_start) as sentiment_change,
    CASE 
        WHEN sentiment_score - LAG(sentiment_score) OVER (PARTITION BY session_id, speaker_type ORDER BY time_start) > 0.2 THEN 'improved'
        WHEN sentiment_score - LAG(sentiment_score) OVER (PARTITION BY session_id, speaker_type ORDER BY time_start) < -0.2 THEN 'worsened'
        ELSE 'stable'
    END as sentiment_trend
FROM sentiment_timeline
ORDER BY session_id, speaker_type, time_start;
CREATE TRIGGER update_consultation_sessions_timestamp 
    AFTER UPDATE ON consultation_sessions
    FOR EACH ROW
BEGIN
    UPDATE consultation_sessions SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
END;
CREATE TRIGGER update_llm_analysis_timestamp 
    AFTER UPDATE ON llm_analysis
    FOR EACH ROW
BEGIN
    UPDATE llm_analysis SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
END;
CREATE TRIGGER update_agent_accounts_timestamp 
    AFTER UPDATE ON agent_accounts
    FOR EACH ROW
BEGIN
    UPDATE agent_accounts SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
END;
CREATE TRIGGER update_agent_profiles_timestamp 
    AFTER UPDATE ON agent_profiles
    FOR EACH ROW
BEGIN
    UPDATE agent_profiles SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
END;
CREATE TRIGGER update_agent_settings_timestamp 
    AFTER UPDATE ON agent_settings
    FOR EACH ROW
BEGIN
    UPDATE agent_settings SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
END;
CREATE TRIGGER update_team_size_insert
    AFTER INSERT ON agent_team_memberships
    FOR EACH ROW
BEGIN
    UPDATE agent_teams 
    SET team_size = (
        SELECT COUNT(*) 
        FROM agent_team_memberships 
        WHERE team_id = NEW.team_id AND is_active = 1
    )
    WHERE id = NEW.team_id;
END;
CREATE TRIGGER update_team_size_update
    AFTER UPDATE ON agent_team_memberships
    FOR EACH ROW
BEGIN
    UPDATE agent_teams 
    SET team_size = (
        SELECT COUNT(*) 
        FROM agent_team_memberships 
        WHERE team_id = NEW.team_id AND is_active = 1
    )
    WHERE id = NEW.team_id;
END;
CREATE INDEX idx_consultation_sessions_audio_file ON consultation_sessions(audio_file_id);
CREATE INDEX idx_consultation_sessions_date ON consultation_sessions(session_date);
CREATE INDEX idx_consultation_sessions_agent ON consultation_sessions(agent_name);
CREATE INDEX idx_consultation_sessions_type ON consultation_sessions(consultation_type);
CREATE INDEX idx_consultation_sessions_status ON consultation_sessions(analysis_status);
CREATE INDEX idx_quality_metrics_session ON quality_metrics(session_id);
CREATE INDEX idx_quality_metrics_category ON quality_metrics(category);
CREATE INDEX idx_sentiment_analysis_session ON sentiment_analysis(session_id);
CREATE INDEX idx_sentiment_analysis_speaker ON sentiment_analysis(speaker_type);
CREATE INDEX idx_communication_patterns_session ON communication_patterns(session_id);
CREATE INDEX idx_communication_patterns_type ON communication_patterns(pattern_type);
CREATE INDEX idx_improvement_suggestions_session ON improvement_suggestions(session_id);
CREATE INDEX idx_improvement_suggestions_priority ON improvement_suggestions(priority);
CREATE INDEX idx_analysis_history_session ON analysis_history(session_id);
CREATE INDEX idx_analysis_history_type ON analysis_history(analysis_type);
CREATE INDEX idx_analysis_history_status ON analysis_history(status);
CREATE INDEX idx_consultation_analysis_id ON consultation_analysis(consultation_id);
CREATE INDEX idx_consultation_analysis_path ON consultation_analysis(audio_path);
CREATE INDEX idx_communication_quality_path ON communication_quality(audio_path);
CREATE INDEX idx_communication_quality_id ON communication_quality(consultation_id);
CREATE INDEX idx_utterances_path ON utterances(audio_path);
CREATE INDEX idx_utterances_speaker ON utterances(speaker);
CREATE INDEX idx_llm_analysis_session ON llm_analysis(session_id);
CREATE INDEX idx_llm_analysis_type ON llm_analysis(analysis_type);
CREATE INDEX idx_llm_analysis_created ON llm_analysis(created_at);
CREATE INDEX idx_llm_issue_detection_type ON llm_issue_detection(issue_type);
CREATE INDEX idx_llm_issue_detection_severity ON llm_issue_detection(severity_level);
CREATE INDEX idx_llm_sentiment_timeline_speaker ON llm_sentiment_timeline(speaker_type);
CREATE INDEX idx_llm_sentiment_timeline_time ON llm_sentiment_timeline(time_segment_start, time_segment_end);
CREATE INDEX idx_llm_improvement_category ON llm_improvement_recommendations(recommendation_category);
CREATE INDEX idx_llm_improvement_priority ON llm_improvement_recommendations(priority_level);
CREATE INDEX idx_agent_accounts_username ON agent_accounts(username);
CREATE INDEX idx_agent_accounts_email ON agent_accounts(email);
CREATE INDEX idx_agent_accounts_status ON agent_accounts(account_status);
CREATE INDEX idx_agent_profiles_employee_id ON agent_profiles(employee_id);
CREATE INDEX idx_agent_profiles_department ON agent_profiles(department);
CREATE INDEX idx_agent_profiles_position ON agent_profiles(position);
CREATE INDEX idx_agent_profiles_supervisor ON agent_profiles(supervisor_id);
CREATE INDEX idx_agent_permissions_agent ON agent_permissions(agent_id);
CREATE INDEX idx_agent_permissions_type ON agent_permissions(permission_type);
CREATE INDEX idx_agent_performance_agent ON agent_performance_history(agent_id);
CREATE INDEX idx_agent_performance_date ON agent_performance_history(evaluation_date);
CREATE INDEX idx_agent_training_agent ON agent_training_history(agent_id);
CREATE INDEX idx_agent_training_type ON agent_training_history(training_type);
CREATE INDEX idx_agent_activity_agent ON agent_activity_logs(agent_id);
CREATE INDEX idx_agent_activity_type ON agent_activity_logs(activity_type);
CREATE INDEX idx_agent_activity_created ON agent_activity_logs(created_at);
CREATE INDEX idx_sentiment_timeline_session ON sentiment_timeline(session_id);
CREATE INDEX idx_sentiment_timeline_speaker ON sentiment_timeline(speaker_type);
CREATE INDEX idx_sentiment_timeline_time ON sentiment_timeline(time_start, time_end);
CREATE INDEX idx_sentiment_timeline_emotion ON sentiment_timeline(dominant_emotion);
CREATE INDEX idx_detailed_quality_metrics_session ON detailed_quality_metrics(session_id);
CREATE INDEX idx_detailed_quality_metrics_category ON detailed_quality_metrics(metric_category);
CREATE INDEX idx_detailed_quality_metrics_critical ON detailed_quality_metrics(is_critical);
CREATE INDEX idx_communication_pattern_session ON communication_pattern_analysis(session_id);
CREATE INDEX idx_communication_pattern_type ON communication_pattern_analysis(pattern_type);
CREATE INDEX idx_consultation_phase_session ON consultation_phase_analysis(session_id);
CREATE INDEX idx_consultation_phase_name ON consultation_phase_analysis(phase_name);
CREATE INDEX idx_agent_behavior_session ON agent_behavior_analysis(session_id);
CREATE INDEX idx_agent_behavior_type ON agent_behavior_analysis(behavior_type);
CREATE INDEX idx_customer_response_session ON customer_response_analysis(session_id);
CREATE INDEX idx_customer_response_type ON customer_response_analysis(response_type);
